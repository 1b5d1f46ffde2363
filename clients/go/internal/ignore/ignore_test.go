package ignore

import "testing"

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		patterns, path string
		isFolder, want bool
	}{
		{"*.pyc", "a.pyc", false, true},
		{"*.pyc", "a/b.pyc", false, true},
		{"/*.pyc", "a/b.pyc", false, false},
		{"a/*.pyc", "a/b.pyc", false, true},
		{"a/*.pyc", "x/a/b.pyc", false, false},
		{"a/*", "a/b/c", false, false}, // but a/b, which who walks does not enter
		{"logs/", "logs", true, true},
		{"logs/", "logs", false, false},
		{"logs/", "a/logs", true, true},
		{"**/logs", "a/b/logs", true, true},
		{"**/logs", "logs", false, true},
		{"a/**/b", "a/b", false, true},
		{"a/**/b", "a/x/y/b", false, true},
		{"a/**", "a/x/y", false, true},
		{"a/**", "a", true, false},
		{"/**", "a/b", false, true},
		{"**/**/a", "x/y/a", false, true},
		{"a/**/**/b", "a/b", false, true},
		{"**a", "x/a", false, true},
		{"x/**a", "x/y/a", false, false},
		{"*.bin\n!keep.bin", "keep.bin", false, false},
		{"!keep.bin\n*.bin", "keep.bin", false, true},
		{"# a comment", "# a comment", false, false},
		{`\#a`, "#a", false, true},
		{`\!a`, "!a", false, true},
		{"a  ", "a", false, true},
		{`a\ `, "a ", false, true},
		{"a?c", "abc", false, true},
		{"a?c", "a/c", false, false},
		{"[a-c]x", "bx", false, true},
		{"[!a-c]x", "bx", false, false},
		{"[!a-c]x", "dx", false, true},
		{"[]]x", "]x", false, true},
		{"[[:digit:]]x", "7x", false, true},
		{"größe.*", "größe.bin", false, true},
		{"a.b", "axb", false, false},
		{"\n\r\n", "a", false, false},
		{"a\r\n", "a", false, true},
	} {
		patterns, err := Parse(test.patterns)
		if err != nil {
			t.Fatalf("%q: %v", test.patterns, err)
		}
		if got := patterns.Match(test.path, test.isFolder); got != test.want {
			t.Errorf("%q of %q: %v", test.patterns, test.path, got)
		}
	}
}
