//go:build tools

// Package tools pins the etcd server that the end-to-end tests run. It is
// never compiled: the import only keeps the module's requirements in go.mod
// and go.sum complete.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
)
