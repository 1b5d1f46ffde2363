package main

import (
	podium "github.com/podium-registry/podium/clients/go"
	podiumv1 "github.com/podium-registry/podium/clients/go/podium/v1"
)

func currentObject(current *podium.Current) any {
	if current == nil {
		return nil
	}
	return object{
		"reference": current.Reference, "path": current.Path, "model": current.Model, "model_uid": current.ModelUID,
		"number": current.Number, "version": current.Version, "digest": current.Digest,
		"record_digest": current.RecordDigest, "stage": current.Stage, "servable": current.Servable,
		"warnings": list(current.Warnings),
	}
}

func stateObject(follower *followed) object {
	problem := ""
	if err := follower.Problem(); err != nil {
		problem = err.Error()
	}
	return object{
		"state": follower.State(), "problem": problem, "warnings": list(follower.Warnings()),
		"number": follower.Current().Number,
	}
}

func stepObject(step podium.Step) object {
	switch step := step.(type) {
	case *podium.Snapshot:
		references := []object{}
		for _, reference := range step.References {
			references = append(references, referenceObject(reference))
		}
		return object{"snapshot": references, "position": step.Position, "restored": step.Restored}
	case *podium.Changes:
		events := []object{}
		for _, event := range step.Events {
			events = append(events, eventObject(event))
		}
		return object{"changes": events, "position": step.Position}
	}
	panic("no such step")
}

func referenceObject(reference *podiumv1.Reference) object {
	return object{
		"model": reference.GetModel(), "model_uid": reference.GetModelUid(), "kind": reference.GetKind().String(),
		"name": reference.GetName(), "number": reference.GetTarget().GetNumber(), "digest": reference.GetTarget().GetDigest(),
		"absence": reference.GetAbsence().String(), "warnings": list(reference.GetWarnings()),
	}
}

func eventObject(event *podiumv1.Event) object {
	return object{
		"revision": event.GetRevision(), "ordinal": event.GetOrdinal(), "position": event.GetPosition(),
		"kind": event.GetKind().String(), "model": event.GetModel(), "name": event.GetName(), "actor": event.GetActor(),
		"reason": event.GetReason(), "rollback": event.GetRollback(),
		"before": event.GetBefore().GetTarget().GetNumber(), "after": event.GetAfter().GetTarget().GetNumber(),
		"absence": event.GetAbsence().String(),
	}
}

// list is never null.
func list(items []string) []string { return append([]string{}, items...) }
