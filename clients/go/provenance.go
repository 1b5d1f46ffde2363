package podium

import (
	"bytes"
	"cmp"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const gitTime = 10 * time.Second

// recordOf is what the caller says, and then what is known anyway. There is no time in it: the same push twice has the same
// record. Metrics, params and dependencies are sorted, since their order says nothing.
func recordOf(ctx context.Context, said *podiumv1.VersionRecord, path, author string) *podiumv1.VersionRecord {
	record := &podiumv1.VersionRecord{}
	if said != nil {
		record = proto.CloneOf(said)
	}
	if record.GetAuthor() == "" {
		record.Author = cmp.Or(author, userName())
	}
	if record.Source == nil {
		record.Source = gitSource(ctx, path)
	}
	slices.SortStableFunc(record.Metrics, byMetric)
	slices.SortStableFunc(record.Params, func(a, b *podiumv1.Param) int { return strings.Compare(a.GetName(), b.GetName()) })
	slices.SortStableFunc(record.Dependencies, func(a, b *podiumv1.Library) int { return strings.Compare(a.GetName(), b.GetName()) })
	return record
}

func byMetric(a, b *podiumv1.Metric) int {
	hasStep := func(m *podiumv1.Metric) int {
		if m.Step != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(
		strings.Compare(a.GetName(), b.GetName()),
		strings.Compare(a.GetDataset(), b.GetDataset()),
		strings.Compare(a.GetSlice(), b.GetSlice()),
		cmp.Compare(hasStep(a), hasStep(b)),
		cmp.Compare(a.GetStep(), b.GetStep()),
	)
}

// gitSource is the state of the work tree that a path is in, nil if it is in none.
//
// Files that Git does not track make no tree dirty: what was trained usually lies among them.
func gitSource(ctx context.Context, path string) *podiumv1.Source {
	folder := path
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		folder = resolved
	}
	if status, err := os.Stat(folder); err != nil || !status.IsDir() {
		folder = filepath.Dir(folder)
	}
	status, found := git(ctx, folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
	if !found {
		return nil
	}
	told := make(map[string]string)
	dirty := false
	for line := range strings.Lines(status) {
		about, isHeader := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if key, value, cut := strings.Cut(about, " "); isHeader && cut && !strings.HasPrefix(value, "(") {
			told[key] = value
		}
		dirty = dirty || !isHeader
	}
	return &podiumv1.Source{
		Repository: forRecord(withoutCredentials(remote(ctx, folder, told["branch.upstream"])), 2_048),
		Commit:     told["branch.oid"],
		Branch:     forRecord(told["branch.head"], 1_024),
		Dirty:      &dirty,
	}
}

// remote is the URL of the remote that the branch follows, else of origin, else of the first.
func remote(ctx context.Context, folder, upstream string) string {
	listed, _ := git(ctx, folder, "config", "--get-regexp", `^remote\..*\.url$`)
	urls := make(map[string]string)
	var followed, names []string
	for line := range strings.Lines(listed) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		name := strings.TrimSuffix(strings.TrimPrefix(key, "remote."), ".url")
		if _, twice := urls[name]; !twice {
			urls[name] = value
			names = append(names, name)
		}
		if strings.HasPrefix(upstream, name+"/") {
			followed = append(followed, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Concat(followed, []string{"origin"}, names) {
		if found := urls[name]; found != "" {
			return found
		}
	}
	return ""
}

var scpLogin = regexp.MustCompile(`^[^/@]*:[^/@]*@`)

// withoutCredentials is a remote's URL without what could log in: a user's name over HTTP, passwords, queries.
func withoutCredentials(remote string) string {
	if !strings.Contains(remote, "://") {
		return scpLogin.ReplaceAllString(remote, "")
	}
	parsed, err := url.Parse(remote)
	if err != nil {
		return ""
	}
	parsed.RawQuery, parsed.Fragment, parsed.RawFragment, parsed.ForceQuery = "", "", "", false
	switch {
	case parsed.User == nil:
	case strings.HasPrefix(parsed.Scheme, "http") || parsed.User.Username() == "":
		parsed.User = nil
	default:
		parsed.User = url.User(parsed.User.Username())
	}
	return parsed.String()
}

// git returns what Git prints; false if it fails, is not there or takes too long.
func git(ctx context.Context, folder string, arguments ...string) (string, bool) {
	limited, cancel := context.WithTimeout(ctx, gitTime)
	defer cancel()
	// A monitor that the repository's configuration names is a program.
	command := exec.CommandContext(limited, "git", append([]string{"-c", "core.fsmonitor=false", "-C", folder}, arguments...)...)
	command.Env = gitEnvironment()
	output, err := command.Output()
	return string(bytes.ToValidUTF8(output, []byte("\uFFFD"))), err == nil
}

// gitEnvironment is ours without what a hook that runs us says of its own repository.
func gitEnvironment() []string {
	ofHook := []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
	environment := slices.DeleteFunc(os.Environ(), func(setting string) bool {
		name, _, _ := strings.Cut(setting, "=")
		return slices.Contains(ofHook, name)
	})
	return append(environment, "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C")
}

// forRecord is the text, or nothing if a record cannot hold it: a push does not fail over its provenance.
func forRecord(text string, maxBytes int) string {
	if len(text) > maxBytes || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return text
}
