package dev.podium;

import dev.podium.v1.EventKind;
import java.util.List;
import java.util.function.Consumer;

/** What a watch is told beside its references. */
public final class WatchOptions {
  List<EventKind> kinds = List.of();
  String since = "";
  String atLeast = "";
  boolean forServing;
  Consumer<Boolean> onConnection = connected -> {};

  /** Aliases and stages, from a snapshot on, whether they may serve or not. */
  public WatchOptions() {}

  /**
   * What is told of models that are named without a sign; else aliases and stages.
   *
   * @param kinds the kinds of events
   * @return this
   */
  public WatchOptions kinds(EventKind... kinds) {
    this.kinds = List.of(kinds);
    return this;
  }

  /**
   * Goes on where an earlier watch of the same was: changes after it come, and no snapshot.
   *
   * @param position the position of the last step that was dealt with
   * @return this
   */
  public WatchOptions since(String position) {
    since = position;
    return this;
  }

  /**
   * The snapshot shows this position or a later one.
   *
   * @param position for example that of a change that was just made
   * @return this
   */
  public WatchOptions atLeast(String position) {
    atLeast = position;
    return this;
  }

  /**
   * Withholds versions that may not serve.
   *
   * @param forServing whether to
   * @return this
   */
  public WatchOptions forServing(boolean forServing) {
    this.forServing = forServing;
    return this;
  }

  /** Is told, in the thread that reads, when the connection is lost, and when it is there and all that there was to say has been read. */
  WatchOptions onConnection(Consumer<Boolean> onConnection) {
    this.onConnection = onConnection;
    return this;
  }
}
