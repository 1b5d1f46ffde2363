// The driver does what the conformance suite tells it, one JSON object a line on its standard input, and answers each with one
// on its standard output.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	podium "github.com/podium-registry/podium/clients/go"
)

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// serve answers until the input ends; an error for a wrong use.
func serve(input io.Reader, output io.Writer) error {
	d := &driver{opened: make(map[string]opened)}
	defer d.closeAll()
	lines := bufio.NewReader(input)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		var told order
		if err := json.Unmarshal(line, &told); err != nil {
			return fmt.Errorf("%q is no order: %w", line, err)
		}
		do, known := verbs[told.Do]
		if !known {
			return fmt.Errorf("%q is no verb", told.Do)
		}
		answer := map[string]any{}
		var unknown unknownHandle
		if result, err := do(d, context.Background(), &told); errors.As(err, &unknown) {
			return err
		} else if err != nil {
			answer["error"] = described(err)
		} else {
			answer["ok"] = result
		}
		text, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		if _, err := output.Write(append(text, '\n')); err != nil {
			return err
		}
	}
}

// order is one line of input.
type order struct {
	Do             string            `json:"do"`
	URL            string            `json:"url"`
	Cache          string            `json:"cache"`
	Actor          string            `json:"actor"`
	TimeoutSeconds float64           `json:"timeout_seconds"`
	Direct         bool              `json:"direct"`
	Handle         string            `json:"handle"`
	Model          string            `json:"model"`
	Path           string            `json:"path"`
	Version        string            `json:"version"`
	Bump           string            `json:"bump"`
	Stage          *string           `json:"stage"`
	Aliases        []string          `json:"aliases"`
	Labels         map[string]string `json:"labels"`
	Description    string            `json:"description"`
	Create         *bool             `json:"create"`
	RequestID      string            `json:"request_id"`
	Reference      string            `json:"reference"`
	References     []string          `json:"references"`
	To             string            `json:"to"`
	ForServing     *bool             `json:"for_serving"`
	AtLeast        string            `json:"at_least"`
	Since          string            `json:"since"`
	Seconds        float64           `json:"seconds"`
	State          podium.State      `json:"state"`
	Number         int64             `json:"number"`
}

type driver struct {
	client *podium.Client
	opened map[string]opened // by handle
}

// opened is a watch or a follower.
type opened interface {
	Position() string
	close()
}

func (d *driver) closeAll() {
	for handle, one := range d.opened {
		one.close()
		delete(d.opened, handle)
	}
	if d.client != nil {
		d.client.Close()
		d.client = nil
	}
}

// unknownHandle is a wrong use of the driver, no answer of the client.
type unknownHandle string

func (u unknownHandle) Error() string { return fmt.Sprintf("%q is no such handle", string(u)) }

// keep has this under a handle, and closes what was there before.
func (d *driver) keep(handle string, one opened) {
	if before, has := d.opened[handle]; has {
		before.close()
	}
	d.opened[handle] = one
}

func handle[T opened](d *driver, name string) (T, error) {
	one, is := d.opened[name].(T)
	if !is {
		return one, unknownHandle(name)
	}
	return one, nil
}

func described(err error) map[string]any {
	var ours *podium.Error
	if !errors.As(err, &ours) {
		return map[string]any{
			"kind": "Local", "code": "", "reason": "", "fields": map[string]string{}, "metadata": map[string]string{},
			"message": err.Error(),
		}
	}
	kind, code := string(ours.Kind), ""
	if kind == "" {
		kind = "PodiumError"
	}
	if ours.Code != 0 {
		code = codeName(ours.Code)
	}
	return map[string]any{
		"kind": kind, "code": code, "reason": ours.Reason, "fields": orEmpty(ours.Fields), "metadata": orEmpty(ours.Metadata),
		"message": ours.Message,
	}
}

func orEmpty(values map[string]string) map[string]string {
	if values == nil {
		return map[string]string{}
	}
	return values
}
