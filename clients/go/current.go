package podium

import (
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

// State is how what a follower has stands to what the registry says: the first that holds of StateStale, StateGone,
// StateUnservable and StateRestored, else StateConnected.
//
// Current stays the last good version in all of them. A process that serves must not fall over because somebody deleted an
// alias or because the registry is away; whether it stops serving is its own decision, for which this is the ground.
type State string

// The states of a follower.
const (
	// StateConnected: changes arrive as they happen.
	StateConnected State = "connected"
	// StateStale: the registry does not answer, so there may be changes that are not known.
	StateStale State = "stale"
	// StateGone: the reference means nothing any more.
	StateGone State = "gone"
	// StateUnservable: it means a version that may not serve; Warnings say why.
	StateUnservable State = "unservable"
	// StateRestored: history was cut (a backup was restored, or the address leads to another registry), so that what it means
	// may be older than what it meant before; until it changes next.
	StateRestored State = "restored"
)

// Current is a version whose files are on this machine. It is shared: do not change it.
type Current struct {
	// Reference is what is followed.
	Reference string
	// Path is a read-only folder in the cache, verified before it came here.
	Path string

	// The other fields are those of the contract's Target, as the registry said them last.

	Model        string
	ModelUID     string
	Number       int64
	Version      string
	Digest       string
	RecordDigest string
	Stage        string
	Servable     bool
	Warnings     []string
}

func currentOf(reference, path string, target *podiumv1.Target) *Current {
	return &Current{
		Reference:    reference,
		Path:         path,
		Model:        target.GetModel(),
		ModelUID:     target.GetModelUid(),
		Number:       target.GetNumber(),
		Version:      target.GetVersion(),
		Digest:       target.GetDigest(),
		RecordDigest: target.GetRecordDigest(),
		Stage:        target.GetStage(),
		Servable:     target.GetServable(),
		Warnings:     target.GetWarnings(),
	}
}

// sameVersion says whether both are one version, whatever is said about it; or both are none.
func sameVersion(one, other *podiumv1.Target) bool {
	if one == nil || other == nil {
		return one == other
	}
	return one.GetModelUid() == other.GetModelUid() && one.GetNumber() == other.GetNumber() && one.GetDigest() == other.GetDigest()
}
