package paths

import (
	"strings"
	"testing"
)

func TestFault(t *testing.T) {
	for _, good := range []string{"a", "a/b/c.bin", "größe", "モデル/重み", ".hidden", "a b", "--", "-/a", "...", strings.Repeat("a", 1_024)} {
		if wrong := Fault(good); wrong != "" {
			t.Errorf("%q %s", good, wrong)
		}
	}
	for _, bad := range []string{
		"", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", `a\b`, "a\x00", "a\n", "a\x7f", "a\u0085", "a\u2028", "a\u2029",
		"gro\u0308ße", "\xff", "-", strings.Repeat("a", 1_025),
	} {
		if Fault(bad) == "" {
			t.Errorf("%q is let through", bad)
		}
	}
}

func TestClash(t *testing.T) {
	for _, bad := range [][]string{
		{"a", "a"}, {"a", "A"}, {"a", "a/b"}, {"A/b", "a"}, {"straße", "STRASSE"}, {"a/b/c", "x", "a/B"}, {"ΣΑΣ", "σας"},
	} {
		if _, _, found := Clash(bad); !found {
			t.Errorf("%q are let through", bad)
		}
	}
	for _, good := range [][]string{{}, {"a"}, {"a", "b"}, {"a", "ab"}, {"a/b", "a/c", "a-b"}, {"a/b", "a.b"}} {
		if one, other, found := Clash(good); found {
			t.Errorf("%q and %q of %q", one, other, good)
		}
	}
}
