package main

import (
	"fmt"
	"io"
	"net/http"
)

// get keeps as many connections open as there are callers: no request pays for the making of one but the first.
func get(o options) (any, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: o.callers, DisableCompression: true}}
	return repeat(o, func(int) send {
		return func(path []byte) ([]byte, error) {
			response, err := client.Get("http://" + o.address + string(path))
			if err != nil {
				return nil, err
			}
			defer response.Body.Close()
			reply, err := io.ReadAll(response.Body)
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", response.Status, reply)
			}
			return reply, err
		}
	})
}
