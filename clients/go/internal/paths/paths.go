// Package paths says which paths the files of a version may have. A push refuses others early; a pull refuses a server that
// sends others.
package paths

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Limits of the contract, of one version.
const (
	MaxFiles      = 10_000
	MaxPathBytes  = 1_024
	MaxPathsBytes = 2 << 20 // all together
)

// Fault says what is wrong with a path, as the end of a sentence; empty if nothing is.
func Fault(path string) string {
	switch {
	case !utf8.ValidString(path):
		return "is not valid UTF-8"
	case len(path) > MaxPathBytes:
		return fmt.Sprintf("has %d bytes, more than %d", len(path), MaxPathBytes)
	case strings.ContainsFunc(path, isControl):
		return "has a control character or a line separator"
	case strings.Contains(path, `\`):
		return "has a backslash"
	case slices.ContainsFunc(strings.Split(path, "/"), isNoName):
		return "is absolute or has an empty, '.' or '..' segment"
	case !norm.NFC.IsNormalString(path):
		return "is not in Unicode NFC"
	case path == "-":
		return "is what sha256sum takes for its standard input"
	}
	return ""
}

func isControl(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029
}

func isNoName(segment string) bool { return segment == "" || segment == "." || segment == ".." }

// Clash returns two paths that no folder can hold together where case is ignored: the same, or one a folder of the other.
func Clash(paths []string) (one, other string, found bool) {
	type folded struct{ key, path string }
	fold := cases.Fold()
	sorted := make([]folded, len(paths))
	for index, path := range paths {
		sorted[index] = folded{norm.NFC.String(fold.String(path)) + "/", path}
	}
	slices.SortFunc(sorted, func(a, b folded) int { return strings.Compare(a.key, b.key) })
	for index := 1; index < len(sorted); index++ {
		if strings.HasPrefix(sorted[index].key, sorted[index-1].key) {
			return sorted[index-1].path, sorted[index].path, true
		}
	}
	return "", "", false
}
