package podium

import (
	"os"
	"testing"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

func TestARecordIsWrittenWhereItSaysSomethingElse(t *testing.T) {
	r := record{t.TempDir(), "127.0.0.1:7070", "m@champion", true}
	var before os.FileInfo
	for _, step := range []struct {
		what   string
		number int64
		anew   bool
		do     func() error
		writes bool
	}{
		{what: "the first", number: 1, writes: true},
		{what: "the same again", number: 1},
		{what: "the same, anew", number: 1, anew: true, writes: true},
		{what: "another target", number: 2, writes: true},
		{what: "a record that was removed", number: 2, do: func() error { return os.Remove(r.path()) }, writes: true},
		{what: "a record that another process wrote", number: 2, do: func() error {
			return r.write(&lastKnown{target: &podiumv1.Target{Number: 3}})
		}, writes: true},
		{what: "the same once more", number: 2},
	} {
		if step.do != nil {
			must(t, step.do())
			before, _ = os.Lstat(r.path())
		}
		must(t, r.keep(&lastKnown{target: &podiumv1.Target{Number: step.number}}, step.anew))
		now, err := os.Lstat(r.path())
		must(t, err)
		if written := before == nil || !os.SameFile(before, now) || !before.ModTime().Equal(now.ModTime()); written != step.writes {
			t.Errorf("%s: written is %t", step.what, written)
		}
		before = now
	}
	other := record{t.TempDir(), r.Address, r.Reference, r.ForServing}
	must(t, other.keep(&lastKnown{target: &podiumv1.Target{Number: 2}}, false))
	if _, err := os.Lstat(other.path()); err != nil {
		t.Error(err)
	}
}
