"""What a driver answered, with labels for what is another in each run, so that the answers of two languages can be compared."""

# Made up by a server or a clock: their values mean nothing, only where the same one comes again.
LABELLED = {"model_uid", "position", "record_digest", "error_id"}


class Transcript:
    """The answers so far, in order. `places` are folders and addresses of this run by what they are called."""

    def __init__(self, places):
        self.answers = []
        self._places = sorted(places.items(), key=lambda place: -len(place[1]))
        self._labels = {}

    def add(self, step, answer, differs=()):
        """Notes the answer to a step, but for the fields of it that may be others in each language."""
        ok, error = answer.get("ok"), answer.get("error")
        if error:
            error = {key: value for key, value in error.items() if key not in ("message", *differs)}  # each has its own words
            if not error.get("code"):  # and where it found the fault by itself, or may have, its own description of it
                error["fields"] = sorted(error["fields"])
        elif isinstance(ok, dict):
            ok = {key: value for key, value in ok.items() if key not in differs}
            if "problem" in ok:
                ok["problem"] = ok["problem"].partition(": ")[0]
        self.answers.append((step, self._same("", error or ok)))

    def _same(self, key, value):
        if key in LABELLED and value:
            return self._labels.setdefault((key, value), f"{key}-{len(self._labels) + 1}")
        if isinstance(value, dict):
            return {name: self._same(name, one) for name, one in sorted(value.items())}
        if isinstance(value, list):
            return [self._same(key, one) for one in value]
        if isinstance(value, str):
            for name, text in self._places:
                value = value.replace(text, name)
        return value
