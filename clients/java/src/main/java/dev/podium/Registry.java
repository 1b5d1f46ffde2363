package dev.podium;

import dev.podium.v1.RegistryServiceGrpc;
import dev.podium.v1.RegistryServiceGrpc.RegistryServiceBlockingStub;
import dev.podium.v1.ResolveVersionRequest;
import io.grpc.Channel;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.WeakHashMap;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;

/**
 * A Podium registry. Threads may share it. It never sees less than it has seen, whichever server answers.
 *
 * <p>Where a method takes a reference, that is one of {@code name:1.4.0}, {@code name:7}, {@code name@alias}, {@code name#stage},
 * {@code name@latest} and {@code name@sha256:…}. What the server, the network or a value is to blame for is a {@link PodiumException};
 * files and folders of this machine that cannot be read or written are an {@link UncheckedIOException}. A thread that is interrupted
 * while it waits gets a {@link PodiumException} with the code CANCELLED, and stays interrupted.
 *
 * <p>The futures of the asynchronous methods fail with the same exceptions. To cancel one ends its work.
 */
public final class Registry implements AutoCloseable {
  private final Transport transport;
  private final Cache cache;
  private final String author;
  private final boolean isDirect;
  private final Set<AutoCloseable> open = Collections.newSetFromMap(new WeakHashMap<>());
  private boolean closed; // guarded by open

  Registry(Transport transport, Cache cache, String author, boolean isDirect) {
    this.transport = transport;
    this.cache = cache;
    this.author = author;
    this.isDirect = isDirect;
  }

  /**
   * Which version a reference means now.
   *
   * @param reference the reference
   * @return the version
   */
  public Target resolve(String reference) {
    return resolve(reference, new ResolveOptions());
  }

  /**
   * Which version a reference means now.
   *
   * @param reference the reference
   * @param options what else is asked
   * @return the version
   */
  public Target resolve(String reference, ResolveOptions options) {
    return Target.of(transport.call(RegistryServiceGrpc.getResolveVersionMethod(), request(reference, options)).getTarget());
  }

  /**
   * Which version a reference means now. No thread waits for the answer.
   *
   * @param reference the reference
   * @return the version
   */
  public CompletableFuture<Target> resolveAsync(String reference) {
    return resolveAsync(reference, new ResolveOptions());
  }

  /**
   * Which version a reference means now. No thread waits for the answer.
   *
   * @param reference the reference
   * @param options what else is asked
   * @return the version
   */
  public CompletableFuture<Target> resolveAsync(String reference, ResolveOptions options) {
    return transport.callAsync(
        RegistryServiceGrpc.getResolveVersionMethod(), request(reference, options), answer -> Target.of(answer.getTarget()));
  }

  /**
   * The verified files of a version as the read-only folder in the cache, safe from pruning while this process runs. External files
   * are not fetched; a warning of the logger {@code dev.podium} names them.
   *
   * @param reference the reference
   * @return the folder
   */
  public Path pull(String reference) {
    return blocking(() -> pullInto(reference, null));
  }

  /**
   * A copy of the verified files of a version, which may be edited. It appears whole or not at all.
   *
   * @param reference the reference
   * @param destination the folder, which must be new or empty
   * @return the folder
   */
  public Path pull(String reference, Path destination) {
    return blocking(() -> pullInto(reference, Checkout.freePlace(destination)));
  }

  /**
   * {@link #pull(String)} in a thread of its own.
   *
   * @param reference the reference
   * @return the folder
   */
  public CompletableFuture<Path> pullAsync(String reference) {
    return Threads.async("podium-pull", () -> pull(reference));
  }

  /**
   * {@link #pull(String, Path)} in a thread of its own.
   *
   * @param reference the reference
   * @param destination the folder, which must be new or empty
   * @return the folder
   */
  public CompletableFuture<Path> pullAsync(String reference, Path destination) {
    return Threads.async("podium-pull", () -> pull(reference, destination));
  }

  /**
   * Registers the file or folder at a path as the next version of a model, of which only new bytes are sent.
   *
   * @param model the model, which is created unless it is there
   * @param path the file or folder
   * @return what it did
   */
  public Push push(String model, Path path) {
    return push(model, path, new PushOptions());
  }

  /**
   * Registers the file or folder at a path as a version of a model, of which only new bytes are sent. Files that {@code .podiumignore}
   * names (in gitignore's syntax) stay out, links are followed. {@link PushRefusedException} names a file that cannot be pushed.
   *
   * @param model the model
   * @param path the file or folder
   * @param options what else is said
   * @return what it did
   */
  public Push push(String model, Path path, PushOptions options) {
    return blocking(() -> Publication.of(transport, author, model, path, options));
  }

  /**
   * {@link #push(String, Path, PushOptions)} in a thread of its own.
   *
   * @param model the model
   * @param path the file or folder
   * @param options what else is said
   * @return what it did
   */
  public CompletableFuture<Push> pushAsync(String model, Path path, PushOptions options) {
    return Threads.async("podium-push", () -> push(model, path, options));
  }

  /**
   * What happens to {@code fraud@champion}, {@code team/*#production}, {@code fraud@latest}, or all aliases and stages of {@code fraud}
   * or {@code team/**}; of nothing, to everything. Nothing is waited for.
   *
   * @param references what it is about: {@code *} in a model's name is any run of characters but {@code /}, {@code **} any run
   * @return the watch, to be closed when done
   */
  public Watch watch(String... references) {
    return watch(List.of(references), new WatchOptions());
  }

  /**
   * The same with more to say.
   *
   * @param references what it is about
   * @param options what else is said
   * @return the watch, to be closed when done
   */
  public Watch watch(List<String> references, WatchOptions options) {
    return opened(new Watch(transport, WatchFilters.of(references, options.kinds), options));
  }

  /**
   * Keeps what a reference that moves (an alias, a stage, latest) means in memory, and its verified files in the cache.
   *
   * <p>It returns once there is a version: the server's, or where that is away the last one that a follower on this machine had, after
   * reading all its bytes. Without one, {@link UnavailableException}; {@link NotFoundException} if the reference means nothing, {@link
   * FailedPreconditionException} if that may not serve, or why it cannot be pulled.
   *
   * @param reference the reference
   * @return the follower, to be closed when done
   */
  public Follower follow(String reference) {
    return follow(reference, new FollowOptions());
  }

  /**
   * The same with more to say.
   *
   * @param reference the reference
   * @param options what else is said
   * @return the follower, to be closed when done
   */
  public Follower follow(String reference, FollowOptions options) {
    checkOpen();
    return opened(Follower.start(transport, cache, reference, options, isDirect));
  }

  /**
   * {@link #follow(String, FollowOptions)} in a thread of its own.
   *
   * @param reference the reference
   * @param options what else is said
   * @return the follower, to be closed when done
   */
  public CompletableFuture<Follower> followAsync(String reference, FollowOptions options) {
    return Threads.async("podium-follow", () -> follow(reference, options));
  }

  /**
   * The generated client, for all else that a registry can do. Its calls carry the actor and the deadline of this registry, and fail
   * with gRPC's {@link StatusRuntimeException}.
   *
   * @return a blocking stub
   */
  public RegistryServiceBlockingStub stub() {
    return RegistryServiceGrpc.newBlockingStub(transport);
  }

  /**
   * What other generated stubs are made of: {@code RegistryServiceGrpc.newFutureStub(registry.channel())}.
   *
   * @return a channel that is always connected to the registry, or connects
   */
  public Channel channel() {
    return transport;
  }

  /**
   * What a call of a stub failed with, as an exception that knows the registry's reasons.
   *
   * @param error what the stub threw
   * @return the same as a PodiumException
   */
  public PodiumException explain(StatusRuntimeException error) {
    return transport.error(error);
  }

  /** Ends what was opened by {@code watch} and {@code follow}, and the connection. Calls fail from then on. */
  @Override
  public void close() {
    List<AutoCloseable> all;
    synchronized (open) {
      closed = true;
      all = List.copyOf(open);
      open.clear();
    }
    all.forEach(Registry::end);
    transport.close();
  }

  private Path pullInto(String reference, Path place) throws Exception {
    Crew crew = new Crew();
    Target target = resolve(reference);
    int pin = reference.indexOf("@" + Digests.PREFIX);
    if (pin >= 0 && !target.digest().equals(reference.substring(pin + 1))) {
      throw new HostileServerException("the server resolves " + reference + " to " + Text.quoted(target.digest()));
    }
    Listing listing = Listing.fetch(transport, target, crew);
    cache.keep(target.digest(), crew::pause);
    Path folder = Checkout.into(cache, transport, listing, crew, isDirect);
    return place == null ? folder : Checkout.copyOut(folder, place, listing);
  }

  private static ResolveVersionRequest request(String reference, ResolveOptions options) {
    return ResolveVersionRequest.newBuilder()
        .setReference(reference).setForServing(options.forServing).setAtLeast(options.atLeast).build();
  }

  private void checkOpen() {
    synchronized (open) {
      if (closed) {
        throw Transport.isClosed();
      }
    }
  }

  /** Whatever {@code close} does not see any more is closed here. */
  private <T extends AutoCloseable> T opened(T one) {
    synchronized (open) {
      if (!closed) {
        open.add(one);
        return one;
      }
    }
    end(one);
    throw Transport.isClosed();
  }

  private static void end(AutoCloseable one) {
    if (one instanceof Watch watch) {
      watch.close();
    } else if (one instanceof Follower follower) {
      follower.close();
    }
  }

  private static <T> T blocking(Callable<T> work) {
    try {
      return work.call();
    } catch (RuntimeException error) {
      throw error;
    } catch (IOException error) {
      throw Thread.currentThread().isInterrupted() ? PodiumException.interrupted() : new UncheckedIOException(error);
    } catch (Exception impossible) {
      throw new IllegalStateException(impossible);
    }
  }
}
