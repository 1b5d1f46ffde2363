package podium

import (
	"fmt"
	"regexp"
	"strings"

	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

const (
	maxModelBytes = 256
	maxNameBytes  = 128
	segment       = `[A-Za-z0-9][A-Za-z0-9._-]*`
)

var (
	modelForm = regexp.MustCompile(`^` + segment + `(/` + segment + `)*$`)
	globForm  = regexp.MustCompile(`^[A-Za-z0-9._/*-]+$`)
	nameForm  = regexp.MustCompile(`^` + segment + `$`)
)

// filtersOf makes filters for fraud@champion, team/*#production, fraud@latest, and for all of fraud, team/* or, of none, everything.
// The kinds are for models without a sign; aliases and stages if there are none.
func filtersOf(references []string, kinds []podiumv1.EventKind) ([]*podiumv1.WatchFilter, error) {
	for _, kind := range kinds {
		if _, known := podiumv1.EventKind_name[int32(kind)]; !known || kind == 0 {
			return nil, badField("kinds", fmt.Sprintf("%d:", kind), "there is no such kind of event")
		}
	}
	if len(references) == 0 {
		return []*podiumv1.WatchFilter{{Kinds: kinds}}, nil
	}
	var filters []*podiumv1.WatchFilter
	for _, reference := range references {
		filter, err := filterOf(reference, kinds)
		if err != nil {
			return nil, err
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

// followedFilter is the filter for one reference that moves; InvalidArgument for others.
func followedFilter(reference string) (*podiumv1.WatchFilter, error) {
	if !strings.ContainsAny(reference, ":@#") || strings.Contains(reference, "*") {
		return nil, badReference(reference, "names no single reference: use NAME@ALIAS, NAME#STAGE or NAME@latest")
	}
	return filterOf(reference, nil)
}

func filterOf(reference string, kinds []podiumv1.EventKind) (*podiumv1.WatchFilter, error) {
	model, sign, name := reference, "", ""
	if cut := strings.IndexAny(reference, ":@#"); cut >= 0 {
		model, sign, name = reference[:cut], reference[cut:cut+1], reference[cut+1:]
	}
	grammar := modelForm
	if strings.Contains(model, "*") {
		grammar = globForm
	}
	isName := nameForm.MatchString(name) && len(name) <= maxNameBytes
	switch {
	case !grammar.MatchString(model) || len(model) > maxModelBytes:
		return nil, badReference(reference, "does not begin with a model's name, in which '*' and '**' may stand for others")
	case sign == "":
		return &podiumv1.WatchFilter{Model: model, Kinds: kinds}, nil
	case sign == ":" || strings.HasPrefix(name, "sha256:"):
		return nil, badReference(reference, "means the same version for good: pull it instead")
	case !isName && sign == "#":
		return nil, badReference(reference, "does not end with a stage")
	case !isName:
		return nil, badReference(reference, "does not end with an alias")
	case len(kinds) > 0:
		return nil, badReference(reference, "says by its sign what it is about: kinds are for models")
	}
	return &podiumv1.WatchFilter{Model: model, Name: name, Kinds: []podiumv1.EventKind{kindOfName(sign, name)}}, nil
}

func kindOfName(sign, name string) podiumv1.EventKind {
	switch {
	case sign == "#":
		return podiumv1.EventKind_EVENT_KIND_STAGE
	case name == "latest":
		return podiumv1.EventKind_EVENT_KIND_LATEST
	}
	return podiumv1.EventKind_EVENT_KIND_ALIAS
}

func badReference(reference, why string) *Error {
	return badField("reference", fmt.Sprintf("%q", reference), why)
}
