// Command timestamp-server is the timestamp authority of Sigstore with its key
// in a file, for the end-to-end tests. The project's own command also serves
// metrics, always on port 2112 of every interface, so that there could be only
// one at a time; this one serves timestamps and nothing else.
package main

import (
	"flag"
	"log"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

// policy is the OID under which Sigstore's timestamps are issued.
const policy = "1.3.6.1.4.1.57264.2"

func main() {
	log.SetFlags(0)
	log.SetPrefix("timestamp-server: ")
	port := flag.Int("port", 0, "`port` of 127.0.0.1 to listen on")
	key := flag.String("key", "", "`file` with the signing key, PEM")
	chain := flag.String("certificate-chain", "", "`file` with the certificate chain, leaf first, PEM")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q", flag.Arg(0))
	}

	// The settings of the project's own command; what is not named here has its
	// default there.
	for name, value := range map[string]any{
		"timestamp-signer":         "file",
		"timestamp-signer-hash":    "sha256",
		"file-signer-key-path":     *key,
		"certificate-chain-path":   *chain,
		"enforce-intermediate-eku": true,
		"default-policy-oid":       policy,
		"accepted-policy-oids":     []string{policy},
		"max-request-body-size":    1 << 20,
	} {
		viper.Set(name, value)
	}
	authority := server.NewRestAPIServer("127.0.0.1", *port, []string{"http"}, false, time.Minute, time.Minute)
	authority.CleanupTimeout = time.Second
	if err := authority.Serve(); err != nil {
		log.Fatal(err)
	}
}
