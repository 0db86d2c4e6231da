// Command interop lets programs that are not casebridge's judge its log: tessera's fsck reads it over HTTP, and
// transparency-dev's witness cosigns it. It is built and driven by tests/interop.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "fsck":
		err = check(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "witness":
		err = serve(os.Args[2], os.Args[3])
	default:
		err = errors.New("usage: interop fsck URL VKEY | interop witness SKEY LOG-VKEY")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// check runs fsck on the log at this address; a damaged log makes it hang with one or two workers,
// so it has four, and a deadline.
func check(address, vkey string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	verifier, err := f_note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	where, err := url.Parse(address)
	if err != nil {
		return err
	}
	fetcher, err := client.NewHTTPFetcher(where, nil)
	if err != nil {
		return err
	}
	return fsck.New(verifier.Name(), verifier, fetcher, leaves, fsck.Opts{N: 4}).Check(ctx)
}

func leaves(bundle []byte) ([][]byte, error) {
	read := &api.EntryBundle{}
	if err := read.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	var hashes [][]byte
	for _, entry := range read.Entries {
		hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(entry))
	}
	return hashes, nil
}

// serve answers add-checkpoint on a free port, which it prints, until its input ends.
func serve(skey, logKey string) error {
	ctx := context.Background()
	signer, err := f_note.NewSignerForCosignatureV1(skey)
	if err != nil {
		return err
	}
	verifier, err := f_note.NewVerifier(logKey)
	if err != nil {
		return err
	}
	known, err := witness.New(ctx, witness.Opts{
		Persistence: inmemory.New(),
		Signers:     []note.Signer{signer},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return verifier, origin == verifier.Name(), nil
		},
	})
	if err != nil {
		return err
	}
	http.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(known).AddCheckpoint)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimPrefix(listener.Addr().String(), "127.0.0.1:"))
	go http.Serve(listener, nil)
	_, err = os.Stdin.Read(make([]byte, 1))
	if err != nil && err.Error() == "EOF" {
		return nil
	}
	return err
}
