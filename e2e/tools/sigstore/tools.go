//go:build tools

// Package tools pins the services of the private Sigstore instances that the
// end-to-end tests run. It is never compiled: the imports only keep the
// module's requirements in go.mod and go.sum complete.
package tools

import (
	_ "github.com/sigstore/fulcio"
	_ "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix"
	_ "github.com/transparency-dev/tesseract/cmd/tesseract/posix"
)
