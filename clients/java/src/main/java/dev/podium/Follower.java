package dev.podium;

import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.ResolveVersionRequest;
import dev.podium.v1.WatchFilter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Predicate;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * What one reference means, kept up to date by two threads, in memory and on this disk, whatever becomes of the registry. {@link
 * Registry#follow} makes it; {@link #close()} ends it. All may be asked in any thread, at any time.
 */
public final class Follower implements AutoCloseable {
  private static final Logger LOG = Logger.getLogger("dev.podium");
  /** How long a registry that is away is waited for where a last known version is there. */
  private static final Duration AWAY = Duration.ofSeconds(2);
  /** How long {@code close} waits for a thread, which may be in a callback. */
  private static final long LEAVING_MILLIS = 5_000;
  private static final Set<Follower> OPEN = ConcurrentHashMap.newKeySet();

  static {
    Runtime.getRuntime().addShutdownHook(new Thread(() -> OPEN.forEach(one -> one.remember(true)), "podium-end"));
  }

  private final Transport transport;
  private final Cache cache;
  private final String reference;
  private final FollowOptions options;
  private final WatchFilter filter;
  private final LastKnown.Record record;
  private final boolean isDirect;
  private final Newest<Current> newest = new Newest<>();
  private final Puller puller;
  private final Reader reader;

  private volatile Current current;
  private volatile State state = State.STALE;
  private volatile List<String> warnings = List.of();
  private volatile String problem = "";
  private volatile String position;

  // Under the lock, which is this.lock: who waits is notified of each change.
  private final Object lock = new Object();
  private boolean closed;
  private Standing standing = Standing.NOTHING; // what the registry said last,
  private RuntimeException failure; // and why that cannot be had
  private Target target; // what is current,
  private Held held; // and its files
  private Target told; // what was current when the callback was called last
  private Target written; // what the record says

  private Follower(
      Transport transport, Cache cache, String reference, FollowOptions options, LastKnown.Record record, LastKnown known,
      boolean isDirect) {
    this.transport = transport;
    this.cache = cache;
    this.reference = reference;
    this.options = options;
    this.record = record;
    this.isDirect = isDirect;
    filter = WatchFilters.followed(reference);
    position = Session.newer(transport.session.position(), known == null ? "" : known.position());
    puller = new Puller(this::bring, this::fail);
    reader = new Reader(this::openWatch, this::apply, this::lose);
  }

  /** Returns once there is a current version; see {@link Registry#follow}. */
  static Follower start(Transport transport, Cache cache, String reference, FollowOptions options, boolean isDirect) {
    WatchFilters.followed(reference); // before anything is read
    LastKnown.Record record = new LastKnown.Record(cache.followedPath(), transport.address, reference, options.forServing);
    LastKnown known = record.read();
    Follower follower = new Follower(transport, cache, reference, options, record, known, isDirect);
    follower.puller.start();
    follower.reader.start();
    try {
      Duration usual = known == null ? transport.timeout : AWAY;
      follower.begin(known, options.timeout == null ? usual : options.timeout);
    } catch (Throwable failed) {
      follower.close();
      throw failed;
    }
    OPEN.add(follower);
    return follower;
  }

  /**
   * The version now: a memory read. It is replaced as a whole, only after every file of the next version is on this disk, verified.
   *
   * @return the version, whose folder stays as it is
   */
  public Current current() {
    return current;
  }

  /**
   * How far {@link #current()} can be relied on.
   *
   * @return the state
   */
  public State state() {
    return state;
  }

  /**
   * Why what the reference means is not what {@link #current()} is: a pull that failed, and is tried again.
   *
   * @return one line, empty if nothing is wrong
   */
  public String problem() {
    return problem;
  }

  /**
   * Why what the reference means may not serve.
   *
   * @return one line each, none if it may
   */
  public List<String> warnings() {
    return warnings;
  }

  /**
   * Up to where the registry has told everything.
   *
   * @return the position
   */
  public String position() {
    String seen = reader.watch().position();
    return seen.isEmpty() ? position : seen;
  }

  /**
   * The current version, then each that takes its place, until {@link #close()}. A slow reader gets the newest, and none that was
   * replaced meanwhile. Where only a stage or warnings changed, {@link #current()} says so and the iterator does not.
   *
   * @return an iterator of its own
   */
  public BlockingIterator<Current> changes() {
    return newest.values();
  }

  /**
   * The current version, whose files stay on this disk until this is closed, whatever becomes current meanwhile.
   *
   * @return it, to be closed when done
   */
  public Use use() {
    synchronized (lock) {
      if (held == null) {
        throw isClosed();
      }
      return new Use(current, cache.hold(held.digest(), new Crew()::pause), cache);
    }
  }

  /**
   * Waits until something holds, which is looked at after each change.
   *
   * @param wanted is quick, and calls nothing of the registry
   * @param timeout how long
   * @return whether it holds; {@link #close()} ends the wait
   */
  public boolean await(Predicate<Follower> wanted, Duration timeout) {
    long deadline = Clock.after(Clock.nanos(timeout));
    synchronized (lock) {
      waitFor(() -> wanted.test(this), deadline);
      return wanted.test(this);
    }
  }

  /** Ends the threads, the watch and the iterators, and the hold on the files. {@link #current()} may still be read. */
  @Override
  public void close() {
    synchronized (lock) {
      if (closed) {
        return;
      }
      closed = true;
      stand(standing.connected(false));
    }
    OPEN.remove(this);
    reader.close();
    puller.close();
    newest.close();
    boolean interrupted = Thread.interrupted(); // who is interrupted can neither wait nor write
    interrupted |= leave(reader.thread());
    interrupted |= leave(puller.thread());
    remember(true);
    Held last;
    synchronized (lock) {
      last = held;
      held = null;
    }
    if (last != null) {
      last.release();
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Waits for the thread; true if an interrupt has ended that, which the caller puts back. */
  private static boolean leave(Thread thread) {
    if (thread == null || thread == Thread.currentThread()) {
      return false;
    }
    try {
      thread.join(LEAVING_MILLIS);
      return false;
    } catch (InterruptedException interrupted) {
      return true;
    }
  }

  private PodiumException isClosed() {
    return new PodiumException(Details.of(reference + " is not followed any more: this follower is closed"));
  }

  // How it begins.

  private void begin(LastKnown known, Duration timeout) {
    while (!arrived(timeout) && !(known != null && adopt(known))) {
      throwWhyNot(timeout);
    }
  }

  /** Whether there is a current version, after as much patience as makes sense: a pull may take long. */
  private boolean arrived(Duration timeout) {
    synchronized (lock) {
      long deadline = Clock.after(Clock.nanos(timeout));
      if (waitFor(() -> standing.meaning() != null || failure != null, deadline)) {
        waitFor(() -> held != null || failure != null || standing.target() == null, Clock.after(Clock.FOREVER));
      }
      return held != null;
    }
  }

  /** Begins with the last known version, if all its bytes are there. */
  private boolean adopt(LastKnown known) {
    Held found = Held.verify(cache, known);
    synchronized (lock) {
      if (found != null && held == null) {
        set(found, known.target());
      } else if (found != null) {
        found.release();
      }
      return held != null;
    }
  }

  private void throwWhyNot(Duration timeout) {
    synchronized (lock) {
      if (failure != null) {
        throw failure;
      }
      if (closed) {
        throw isClosed();
      }
      if (standing.meaning() == null) {
        PodiumException why = reader.watch().error();
        throw why != null ? why : new UnavailableException("the server at " + transport.address + " did not answer within "
            + timeout.toMillis() / 1e3 + " s");
      }
    }
    // The reference means nothing, and why is best said by the server itself; unless it means something by now.
    transport.call(RegistryServiceGrpc.getResolveVersionMethod(), ResolveVersionRequest.newBuilder()
        .setReference(reference).setForServing(options.forServing).setAtLeast(position).build());
  }

  /** Under the lock: waits until it holds, or the follower is closed; false if neither in time. */
  private boolean waitFor(java.util.function.BooleanSupplier holds, long deadline) {
    try {
      while (!closed && !holds.getAsBoolean()) {
        if (!Clock.await(lock, deadline)) {
          return false;
        }
      }
      return true;
    } catch (InterruptedException interrupted) {
      throw PodiumException.interrupted();
    }
  }

  // What the reader calls.

  private Watch openWatch() {
    WatchOptions watched = new WatchOptions().atLeast(position).forServing(options.forServing).onConnection(this::connect);
    return new Watch(transport, List.of(filter), watched);
  }

  private void connect(boolean connected) {
    synchronized (lock) {
      stand(standing.connected(connected && !closed));
    }
    if (connected) {
      puller.hurry();
    }
  }

  private void apply(Watch.Step step) {
    Target wanted;
    synchronized (lock) {
      Target before = standing.target();
      Standing now = standing.after(step).connected(!closed);
      wanted = now.target();
      position = step.position();
      if (!Target.same(before, wanted)) {
        problem = "";
        failure = null;
      }
      if (held != null && wanted != null && Target.same(target, wanted)) {
        set(held, wanted);
      }
      stand(now);
    }
    puller.want(wanted);
  }

  private void lose(RuntimeException error) {
    synchronized (lock) {
      if (error instanceof InvalidArgumentException wrong && wrong.fields().containsKey("at_least")) {
        position = ""; // the record has none
      } else {
        failure = error;
      }
      stand(standing.connected(false));
    }
  }

  // What the puller calls.

  /** Makes this version the current one, if it still is what the reference means. */
  private void bring(Target next, Crew crew) throws Exception {
    boolean isHere;
    synchronized (lock) {
      isHere = held != null && Target.same(target, next);
    }
    if (!isHere && !replace(next, Held.pull(transport, cache, next, crew, isDirect))) {
      return;
    }
    remember(false);
    callBack();
  }

  private boolean replace(Target next, Held pulled) {
    Held old;
    synchronized (lock) {
      Target wanted = standing.target();
      if (closed || !Target.same(wanted, next)) {
        pulled.release();
        return false;
      }
      old = held;
      set(pulled, wanted);
    }
    if (old != null) {
      old.release();
    }
    return true;
  }

  /** Tells what is current, unless that was told. */
  private void callBack() {
    Current now;
    Target next;
    synchronized (lock) {
      if (target == null || told == null || Target.same(target, told)) {
        return;
      }
      now = current;
      next = target;
    }
    try {
      options.onChange.accept(now);
    } catch (Throwable error) { // also a class that cannot be loaded: the version is current all the same
      LOG.log(Level.SEVERE, "what is called when " + reference + " changes failed", error);
    }
    synchronized (lock) {
      told = next;
    }
  }

  private void fail(Target next, Throwable error) {
    String said = error.getMessage() == null || !(error instanceof PodiumException) ? error.toString() : error.getMessage();
    String why = next.pinned() + " cannot be had: " + said;
    boolean isNew;
    synchronized (lock) {
      if (!Target.same(standing.target(), next)) {
        return;
      }
      isNew = !why.equals(problem);
      problem = why;
      failure = unchecked(error);
      lock.notifyAll();
    }
    if (isNew) {
      LOG.log(Level.WARNING, "{0}: {1}", new Object[] {reference, why});
    }
  }

  private static RuntimeException unchecked(Throwable error) {
    if (error instanceof RuntimeException already) {
      return already;
    }
    return error instanceof IOException io ? new UncheckedIOException(io) : new IllegalStateException(error);
  }

  // What is true now.

  /** Under the lock: this is current. */
  private void set(Held pulled, Target next) {
    boolean moved = !Target.same(target, next);
    current = new Current(reference, pulled.path(), next);
    held = pulled;
    target = next;
    told = told == null ? next : told;
    problem = "";
    failure = null;
    newest.put(current, moved);
    lock.notifyAll();
  }

  /** Under the lock: these are the facts, and who waits for a state looks again. */
  private void stand(Standing now) {
    standing = now;
    state = now.state();
    warnings = now.meaning() == null ? List.of() : now.meaning().warnings();
    lock.notifyAll();
  }

  /** Writes what is current, for the next start, unless that is written already. */
  private void remember(boolean ending) {
    Held now;
    Target next;
    synchronized (lock) {
      now = held;
      next = target;
      if (now == null || (next.equals(written) && !ending)) {
        return;
      }
    }
    try {
      record.write(new LastKnown(next, now.files(), position()));
      synchronized (lock) {
        written = next;
      }
    } catch (IOException error) {
      LOG.log(Level.WARNING, "{0}: what is current cannot be written down for the next start: {1}",
          new Object[] {reference, error.getMessage()});
    }
  }
}
