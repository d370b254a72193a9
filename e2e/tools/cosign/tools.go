//go:build tools

// Package tools pins the cosign program that the end-to-end tests sign with.
// It is never compiled: the import only keeps the module's requirements in
// go.mod and go.sum complete.
package tools

import (
	_ "github.com/sigstore/cosign/v3/cmd/cosign"
)
