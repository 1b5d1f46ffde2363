package dev.podium;

import dev.podium.v1.EventKind;
import dev.podium.v1.WatchFilter;
import java.util.Collection;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What a watch is about, as words: references that can move, with globs for the model's name. */
final class WatchFilters {
  private static final String LATEST = "latest";
  private static final int MAX_MODEL_BYTES = 256;
  private static final int MAX_NAME_BYTES = 128;
  private static final String SEGMENT = "[A-Za-z0-9][A-Za-z0-9._-]*";
  private static final Pattern MODEL = Pattern.compile(SEGMENT + "(/" + SEGMENT + ")*");
  private static final Pattern GLOB = Pattern.compile("[A-Za-z0-9._/*-]+");
  private static final Pattern NAME = Pattern.compile(SEGMENT);
  private static final Pattern SIGN = Pattern.compile("[:@#]");

  private WatchFilters() {}

  /** One for each reference; of none, one for everything. The kinds are for models without a sign. */
  static List<WatchFilter> of(Collection<String> references, Collection<EventKind> kinds) {
    if (kinds.contains(EventKind.EVENT_KIND_UNSPECIFIED) || kinds.contains(EventKind.UNRECOGNIZED)) {
      throw new InvalidArgumentException("kinds are those of EventKind", "kinds", "there is no such kind of event");
    }
    if (references.isEmpty()) {
      return List.of(WatchFilter.newBuilder().addAllKinds(kinds).build());
    }
    return references.stream().map(reference -> parse(reference, kinds)).toList();
  }

  /** The filter for one reference that moves; InvalidArgumentException for others. */
  static WatchFilter followed(String reference) {
    if (!SIGN.matcher(reference).find() || reference.contains("*")) {
      throw refused(reference, "names no single reference: use NAME@ALIAS, NAME#STAGE or NAME@latest");
    }
    return parse(reference, List.of());
  }

  private static WatchFilter parse(String reference, Collection<EventKind> kinds) {
    Matcher cut = SIGN.matcher(reference);
    boolean signed = cut.find();
    String model = signed ? reference.substring(0, cut.start()) : reference;
    Pattern grammar = model.contains("*") ? GLOB : MODEL;
    if (!grammar.matcher(model).matches() || model.length() > MAX_MODEL_BYTES) {
      throw refused(reference, "does not begin with a model's name, in which '*' and '**' may stand for others");
    }
    WatchFilter.Builder filter = WatchFilter.newBuilder().setModel(model);
    if (!signed) {
      return filter.addAllKinds(kinds).build();
    }
    String sign = cut.group();
    String name = reference.substring(cut.end());
    if (sign.equals(":") || name.startsWith("sha256:")) {
      throw refused(reference, "means the same version for good: pull it instead");
    }
    if (!NAME.matcher(name).matches() || name.length() > MAX_NAME_BYTES) {
      throw refused(reference, "does not end with " + (sign.equals("#") ? "a stage" : "an alias"));
    }
    if (!kinds.isEmpty()) {
      throw refused(reference, "says by its sign what it is about: kinds are for models");
    }
    return filter.setName(name).addKinds(kind(sign, name)).build();
  }

  private static EventKind kind(String sign, String name) {
    if (sign.equals("#")) {
      return EventKind.EVENT_KIND_STAGE;
    }
    return name.equals(LATEST) ? EventKind.EVENT_KIND_LATEST : EventKind.EVENT_KIND_ALIAS;
  }

  private static InvalidArgumentException refused(String reference, String why) {
    return new InvalidArgumentException(Text.quoted(reference) + " " + why, "reference", why);
  }
}
