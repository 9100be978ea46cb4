// Command ownstorage is a provider on a storage backend of its own: bbolt, a
// key-value store in one file.
//
// A backend is four methods. It reads no column to decide anything and knows no
// OAuth: storage.Validate, Op.Judge and Op.Apply say what a Commit means, and the
// backend adds a transaction. bolt.go is all of it; the test holds it against
// storagetest.Run, which is how you know that yours is right.
//
//	IDP_SECRET=$(openssl rand -hex 32) go run ./ownstorage
package main

import (
	"context"
	"encoding/hex"
	"net/http"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/idpkit/idpkit/clientreg"
	"github.com/idpkit/idpkit/example/internal/demo"
	"github.com/idpkit/idpkit/handlers"
	"github.com/idpkit/idpkit/storage"
)

func main() {
	demo.Serve(func(ctx context.Context, origin string) (http.Handler, error) {
		// The secret has to last as long as the file: it seals what is in there.
		secret, err := hex.DecodeString(os.Getenv("IDP_SECRET"))
		if err != nil {
			return nil, err
		}
		// Another process that has the file open is an error after a second.
		store, err := openBolt("idp.bolt", &bolt.Options{Timeout: time.Second})
		if err != nil {
			return nil, err
		}
		return build(ctx, origin, store, secret)
	})
}

func build(ctx context.Context, origin string, store storage.Storage, secret []byte) (http.Handler, error) {
	app := demo.App{Issuer: origin, Origin: origin}
	clients, err := clientreg.Static(app.Client())
	if err != nil {
		return nil, err
	}
	p, err := handlers.New(handlers.Config{
		Issuer: origin, Storage: store, Clients: clients, Users: demo.Users{}, Secrets: [][]byte{secret},
	})
	if err != nil {
		return nil, err
	}
	go p.Run(ctx)
	mux := http.NewServeMux()
	mux.Handle("/", p.Handler())
	mux.Handle("/app/", app.Handler())
	return mux, nil
}
