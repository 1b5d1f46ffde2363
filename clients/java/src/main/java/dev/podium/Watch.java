package dev.podium;

import com.google.protobuf.Duration;
import dev.podium.v1.Event;
import dev.podium.v1.Reference;
import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.WatchFilter;
import dev.podium.v1.WatchRequest;
import dev.podium.v1.WatchResponse;
import io.grpc.Status.Code;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Set;

/**
 * What happens, without an end: a {@link Snapshot} first (unless it began at a position), then {@link Changes}.
 *
 * <p>Cuts, restarts and heartbeats are none of its reader's business: nothing is left out, doubled or out of order. After history was
 * cut comes another snapshot. One thread reads it, any may {@link #close()} it, which ends the iteration. What comes back however
 * often one tries is thrown: {@link InvalidArgumentException} for a position that is none. {@link Registry#watch} makes it.
 */
public final class Watch implements BlockingIterator<Watch.Step>, AutoCloseable {
  private static final long FIRST_PAUSE = 100; // milliseconds
  private static final long LONGEST_PAUSE = 3_000;
  private static final int MISSED = 3; // heartbeat intervals of silence, after which a stream is dead
  private static final Set<Code> PASSING = EnumSet.of(
      Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.UNKNOWN);

  private final Transport transport;
  private final List<WatchFilter> filters;
  private final WatchOptions options;
  private final Crew crew = new Crew(); // stopped: closed
  private final Backoff backoff = new Backoff(FIRST_PAUSE, LONGEST_PAUSE);
  private volatile String position;
  private volatile PodiumException error; // why there is no connection
  private String newest;
  private boolean restored;
  private Boolean connected; // null until the first stream is up, or is not
  private boolean caughtUp; // and nobody was told yet
  private Step ready; // found by hasNext
  private long resumeAt = System.nanoTime();

  // The stream that is open, and what it said since its last position.
  private Incoming<WatchResponse> stream;
  private Crew.Stoppable streamEnd;
  private long silenceNanos;
  private long askedAt; // 0: no message was asked for that has not come
  private List<Reference> snapshot;
  private final List<Event> events = new ArrayList<>();

  /** What is read at once: all of it holds at its position. */
  public sealed interface Step permits Snapshot, Changes {
    /**
     * Another watch can begin there, once this step was dealt with.
     *
     * @return the position
     */
    String position();
  }

  /**
   * All that the watched references mean: it replaces whatever was known, also what it does not mention.
   *
   * @param references what they mean, in no order
   * @param position where that holds
   * @param restored whether history was cut since the position before it: a backup was restored, or the address leads to another
   *     registry. Then this may be older than what was known
   */
  public record Snapshot(List<Reference> references, String position, boolean restored) implements Step {}

  /**
   * What happened next.
   *
   * @param events one or more, in order
   * @param position where all of it holds
   */
  public record Changes(List<Event> events, String position) implements Step {}

  Watch(Transport transport, List<WatchFilter> filters, WatchOptions options) {
    this.transport = transport;
    this.filters = filters;
    this.options = options;
    position = options.since;
    newest = options.since.isEmpty() ? options.atLeast : options.since;
  }

  /**
   * Up to where everything has been said, which also moves while nothing happens. Another watch can begin there. Keep that of a step
   * once you are done with it.
   *
   * @return the position, empty before the first snapshot
   */
  public String position() {
    return position;
  }

  @Override
  public boolean hasNext() {
    if (ready == null) {
      ready = read(Clock.FOREVER);
    }
    return ready != null;
  }

  @Override
  public Step next() {
    if (!hasNext()) {
      throw new NoSuchElementException("it is closed");
    }
    Step next = ready;
    ready = null;
    return next;
  }

  @Override
  public Step poll(java.time.Duration timeout) {
    Step next = ready == null ? read(Clock.nanos(timeout)) : ready;
    ready = null;
    return next;
  }

  /** Ends the stream, and the iteration. Any thread may call it, and more than once. */
  @Override
  public void close() {
    crew.stop();
  }

  /** Why there is no connection; null if there is one, or nobody knows yet. */
  PodiumException error() {
    return error;
  }

  /** The next step; null if none came in time, or it is closed. */
  private Step read(long nanos) {
    long deadline = Clock.after(nanos);
    do {
      try {
        if (caughtUp) {
          caughtUp = false;
          tell(true);
        }
        if (stream != null || open(deadline)) {
          Step step = readStream(deadline);
          if (step != null) {
            return step;
          }
        }
      } catch (StoppedException closed) {
        return null;
      } catch (PodiumException failure) {
        drop();
        if (crew.stopped()) {
          return null;
        }
        if (Thread.currentThread().isInterrupted()) {
          throw failure;
        }
        error = failure;
        judge(failure);
        tell(false);
      }
    } while (!crew.stopped() && Clock.left(deadline) > 0);
    return null;
  }

  /** Opens a stream once the pause is over; false if that is after the deadline. */
  private boolean open(long deadline) {
    long pause = Clock.left(resumeAt);
    if (pause > 0) {
      crew.pause(Math.max(0, Math.min(pause, Clock.left(deadline))));
      if (Clock.left(resumeAt) > 0) {
        return false;
      }
    }
    crew.check();
    if (newest.isEmpty()) {
      newest = transport.session.position();
    }
    WatchRequest request = WatchRequest.newBuilder()
        .addAllFilters(filters)
        .setPosition(position)
        .setForServing(options.forServing)
        .setAtLeast(position.isEmpty() ? newest : "")
        .build();
    stream = transport.open(RegistryServiceGrpc.getWatchMethod(), request);
    streamEnd = crew.stoppable(stream::close);
    silenceNanos = transport.timeout.toNanos();
    askedAt = 0;
    snapshot = null;
    events.clear();
    return true;
  }

  /** Reads until there is a step, the deadline or the end of the stream. */
  private Step readStream(long deadline) {
    do {
      if (askedAt == 0) {
        stream.request(1);
        askedAt = System.nanoTime();
      }
      long patience = Clock.left(askedAt + silenceNanos);
      WatchResponse message = stream.next(Math.max(0, Math.min(patience, Clock.left(deadline))));
      if (message != null) {
        askedAt = 0;
        Step step = take(message);
        if (step != null) {
          return step;
        }
      } else if (stream.ended()) {
        drop();
        tell(false);
        return null;
      } else if (Clock.left(askedAt + silenceNanos) <= 0) {
        throw silent();
      }
    } while (!caughtUp && Clock.left(deadline) > 0);
    return null;
  }

  private Step take(WatchResponse message) {
    backoff.reset();
    Duration heartbeat = message.getHeartbeatInterval();
    long nanos = heartbeat.getSeconds() * 1_000_000_000 + heartbeat.getNanos();
    if (nanos > 0) {
      silenceNanos = MISSED * nanos;
    }
    if (message.getSnapshot()) {
      snapshot = snapshot == null ? new ArrayList<>() : snapshot;
      snapshot.addAll(message.getReferencesList());
    }
    events.addAll(message.getEventsList());
    if (message.getPosition().isEmpty()) {
      return null;
    }
    position = newest = message.getPosition();
    transport.session.see(position);
    caughtUp = true;
    Step step = null;
    if (snapshot != null) {
      step = new Snapshot(List.copyOf(snapshot), position, restored);
      restored = false;
    } else if (!events.isEmpty()) {
      step = new Changes(List.copyOf(events), position);
    }
    snapshot = null;
    events.clear();
    return step;
  }

  private PodiumException silent() {
    transport.leave(stream.connection);
    return new UnavailableException(Details.of("the server at " + transport.address + " said nothing for "
        + silenceNanos / 1_000_000 / 1e3 + " s", "SILENT", Code.UNAVAILABLE));
  }

  /** Ends the stream, and sets when the next one is opened. */
  private void drop() {
    if (stream != null) {
      stream.close();
      streamEnd.close();
      stream = null;
    }
    resumeAt = System.nanoTime() + backoff.next();
  }

  /** Throws what would come back; forgets a position that leads nowhere. */
  private void judge(PodiumException failure) {
    if (failure.code() == Code.OUT_OF_RANGE) {
      boolean unknown = Session.isUnknown(failure);
      if (unknown) {
        transport.session.forget(newest);
      }
      if (unknown || position.isEmpty()) {
        newest = "";
      }
      restored |= unknown;
      position = "";
    } else if (!PASSING.contains(failure.code())) {
      crew.stop();
      throw failure;
    }
  }

  private void tell(boolean now) {
    if (connected == null || connected != now) {
      connected = now;
      if (now) {
        error = null;
      }
      options.onConnection.accept(now);
    }
  }
}
