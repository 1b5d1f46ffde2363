// Package podium is the Go client of Podium, a registry for models: push, pull, resolve, watch and follow.
//
// A service follows a reference that moves, and has the verified files of what it means on its own disk:
//
//	client, err := podium.Dial("registry:7070", nil)
//	champion, err := client.Follow(ctx, "fraud@champion", nil)
//	folder := champion.Current().Path // a memory read, no call
//	for current := range champion.Changes(ctx) {
//		// the version now, then each that takes its place
//	}
//
// All that has no method here is a call of the generated client, [Client.Stub].
package podium
