// Command registry is an in-memory container registry for the end-to-end
// tests, with or without the referrers API, and with a choice of three ways to
// treat clients: anonymous, HTTP basic authentication, or bearer tokens.
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("registry: ")
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on; with port 0 the system chooses one")
	referrers := flag.Bool("referrers", true, "serve the OCI 1.1 referrers API")
	basic := flag.String("basic-auth", "", "require HTTP basic authentication as `user:password`")
	token := flag.String("token-auth", "", "require a bearer token, handed out by /token to `user:password`")
	exitWithStdin := flag.Bool("exit-with-stdin", false, "end when standard input reaches end of file")
	verbose := flag.Bool("verbose", false, "log each request to standard error")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q", flag.Arg(0))
	}
	if *basic != "" && *token != "" {
		log.Fatal("--basic-auth and --token-auth exclude each other")
	}
	for _, credentials := range []string{*basic, *token} {
		if credentials != "" && !strings.Contains(credentials, ":") {
			log.Fatal("credentials must have the form user:password")
		}
	}

	// Quiet unless asked: a parent that does not read the pipe must not block us.
	requests := log.New(io.Discard, "", log.LstdFlags)
	if *verbose {
		requests.SetOutput(os.Stderr)
	}
	handler := registry.New(registry.WithReferrersSupport(*referrers), registry.Logger(requests))

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	address := listener.Addr().String()
	switch {
	case *basic != "":
		handler = basicAuth(handler, *basic)
	case *token != "":
		handler = tokenAuth(handler, *token, "http://"+address+"/token")
	}

	// os.Stdout is not buffered: the line is out before the first request. The
	// listener already queues connections, so that nobody has to wait or poll.
	fmt.Printf("listening %s\n", address)
	if *exitWithStdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	log.Fatal(http.Serve(listener, handler))
}

// hasCredentials tells whether the request carries these basic credentials.
func hasCredentials(r *http.Request, credentials string) bool {
	user, password, ok := r.BasicAuth()
	return ok && user+":"+password == credentials
}

// unauthorized answers 401 with a challenge, in the registry protocol's form.
func unauthorized(w http.ResponseWriter, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`+"\n")
}

// basicAuth lets only requests with the basic credentials reach the registry.
func basicAuth(next http.Handler, credentials string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hasCredentials(r, credentials) {
			unauthorized(w, `Basic realm="e2e"`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// repository finds the NAME of /v2/NAME/{manifests,blobs,tags,referrers}/...
var repository = regexp.MustCompile(`^/v2/(.+)/(?:manifests|blobs|tags|referrers)/`)

// tokenAuth lets only requests with a bearer token reach the registry, and
// serves the tokens at /token to those who have the basic credentials. A token
// is good for everything and as long as the process lives: that is enough to
// test a client's side of the exchange.
func tokenAuth(next http.Handler, credentials, realm string) http.Handler {
	var issued sync.Map // token -> struct{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/token" {
			if !hasCredentials(r, credentials) {
				unauthorized(w, `Basic realm="e2e"`)
				return
			}
			token := rand.Text()
			issued.Store(token, struct{}{})
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, "{\"token\":%q}\n", token)
			return
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if ok {
			_, ok = issued.Load(token)
		}
		if !ok {
			challenge := fmt.Sprintf(`Bearer realm="%s",service="e2e"`, realm)
			if name := repository.FindStringSubmatch(r.URL.Path); name != nil { // none at /v2/
				challenge += fmt.Sprintf(`,scope="repository:%s:pull,push"`, name[1])
			}
			unauthorized(w, challenge)
			return
		}
		next.ServeHTTP(w, r)
	})
}
