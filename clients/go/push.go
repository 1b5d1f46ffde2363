package podium

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// PushOptions says more about a version.
type PushOptions struct {
	// Version is the version string; made by the model's strategy if empty.
	Version string
	// Bump says which part of the highest semantic version is raised.
	Bump podiumv1.VersionBump
	// Stage is the first stage: nil for the lifecycle's initial one, empty for none.
	Stage *string
	// Aliases are set or moved to the version.
	Aliases []string
	// Labels are the version's.
	Labels map[string]string
	// Description is free text.
	Description string
	// Record may say all that a VersionRecord can. What it leaves out and is known anyway is filled in: the author (the
	// client's actor, else the user) and the source (the state of the Git work tree that the path is in).
	Record *podiumv1.VersionRecord
	// NoCreate forbids to create the model where it is not there.
	NoCreate bool
	// Reason says why, in the events.
	Reason string
	// RequestID makes two pushes one; made up if empty.
	RequestID string
}

// Pushed is what a push did: the version, whether it is new, where it was committed, and what went over the wire.
type Pushed struct {
	Version  *podiumv1.Version
	Created  bool
	Position string
	// Files and SizeBytes are those of the version.
	Files     int
	SizeBytes int64
	// UploadedBytes are those that had to be sent.
	UploadedBytes int64
	// LeftOut are empty folders, which no version can hold.
	LeftOut []string
}

// Push registers the file or folder at path as a version of the model, of which only new bytes are sent. The options may be nil.
//
// The model is created unless it is there. Files that .podiumignore names (in gitignore's syntax) stay out, links are followed.
// PushRefused names a file that cannot be pushed.
func (c *Client) Push(ctx context.Context, model, path string, options *PushOptions) (*Pushed, error) {
	chosen := orDefault(options)
	folder, err := scan(path)
	if err != nil {
		return nil, err
	}
	request := &podiumv1.RegisterVersionRequest{
		Model:       model,
		Record:      recordOf(ctx, chosen.Record, path, c.author),
		Version:     chosen.Version,
		Bump:        chosen.Bump,
		Stage:       chosen.Stage,
		Aliases:     chosen.Aliases,
		Description: chosen.Description,
		Labels:      chosen.Labels,
		Reason:      chosen.Reason,
		RequestId:   chosen.RequestID,
	}
	if request.RequestId == "" {
		request.RequestId = newID()
	}
	if !chosen.NoCreate {
		if err := c.ensureModel(ctx, model); err != nil {
			return nil, err
		}
	}
	return c.publish(ctx, folder, request)
}

// publish uploads what the server does not have, and registers the version that the request describes, but for its files.
func (c *Client) publish(ctx context.Context, folder *folder, request *podiumv1.RegisterVersionRequest) (*Pushed, error) {
	upload := &upload{transport: c.transport, stub: c.stub, model: request.GetModel(), claimed: make(map[string]bool)}
	manifest, err := upload.run(ctx, folder.files)
	if err != nil {
		return nil, err
	}
	request.Files = manifest
	var reply *podiumv1.RegisterVersionResponse
	err = persist(ctx, newPatience(c.transport.timeout), func() (err error) {
		reply, err = c.stub.RegisterVersion(ctx, request, resumed{})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Pushed{
		Version:       reply.GetVersion(),
		Created:       reply.GetCreated(),
		Position:      reply.GetPosition(),
		Files:         len(folder.files),
		SizeBytes:     folder.size(),
		UploadedBytes: upload.sent.Load(),
		LeftOut:       folder.leftOut,
	}, nil
}

// ensureModel creates the model unless it is there.
func (c *Client) ensureModel(ctx context.Context, name string) error {
	_, err := c.stub.GetModel(ctx, &podiumv1.GetModelRequest{Name: name})
	if !errors.Is(err, NotFound) {
		return err
	}
	_, err = c.stub.CreateModel(ctx, &podiumv1.CreateModelRequest{Name: name, RequestId: newID()})
	if errors.Is(err, AlreadyExists) { // somebody else was first
		return nil
	}
	return err
}

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
