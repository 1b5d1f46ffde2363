package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"sync/atomic"

	podium "github.com/podium-registry/podium/clients/go"
)

const maxBodyBytes = 1 << 20

// server answers with its model, which is replaced as a whole: a request sees one version or the other.
type server struct {
	follower *podium.Follower
	model    atomic.Pointer[model]
}

// newServer has loaded the current version, and replaces it until the context is done.
func newServer(ctx context.Context, follower *podium.Follower) (*server, error) {
	current := follower.Current()
	first, err := load(current)
	if err != nil {
		return nil, err
	}
	s := &server{follower: follower}
	s.model.Store(first)
	go s.swap(ctx, current)
	return s, nil
}

// swap loads each version beside the one that serves, then takes its place. A version that cannot be loaded is left out.
func (s *server) swap(ctx context.Context, loaded *podium.Current) {
	for current := range s.follower.Changes(ctx) {
		if current == loaded {
			continue // the iterator begins with the current version
		}
		next, err := load(current)
		if err != nil {
			log.Printf("%s serves on: %v", s.model.Load().version, err)
			continue
		}
		s.model.Store(next)
		log.Printf("serving %s", next.version)
	}
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /predict", s.predict)
	mux.HandleFunc("GET /status", s.status)
	return mux
}

type answer struct {
	Version     string    `json:"version"`
	Number      int64     `json:"number"`
	Predictions []float64 `json:"predictions"`
}

func (s *server) predict(w http.ResponseWriter, r *http.Request) {
	var rows [][]float64
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes)).Decode(&rows); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	serving := s.model.Load() // once: the whole answer is from one version
	predictions, err := serving.predict(rows)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, answer{serving.version, serving.number, predictions})
}

type status struct {
	Version string `json:"version"`
	State   string `json:"state"` // of the follower: connected, stale …
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) {
	reply(w, status{s.model.Load().version, string(s.follower.State())})
}

func reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err) // who asked has gone
	}
}
