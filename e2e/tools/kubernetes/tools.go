//go:build tools

// Package tools pins the Kubernetes programs that the end-to-end tests run.
// It is never compiled: the imports only keep the module's requirements in
// go.mod and go.sum complete.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
