//go:build tools

// Package peers pins the programs that end-to-end tests of HTTP/2 and gRPC talk to. `make deps`
// installs them to target/peers.
package peers

import (
	_ "github.com/summerwind/h2spec/cmd/h2spec"
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
