package dev.podium;

import io.grpc.Status;
import java.util.Map;

/**
 * Something went wrong; the message is one line.
 *
 * <p>There is one class for each kind of answer of the server ({@link NotFoundException}, {@link AlreadyExistsException}, {@link
 * InvalidArgumentException}, {@link FailedPreconditionException}, {@link ConflictException}, {@link OutOfRangeException}, {@link
 * ResourceExhaustedException}, {@link DataLossException}, {@link UnavailableException}, {@link InternalErrorException}), and for
 * what the client finds by itself ({@link PushRefusedException}, {@link DamagedFileException}, {@link HostileServerException},
 * {@link DiskFullException}). A call that was cancelled, or whose thread was interrupted, is this class with the code CANCELLED.
 * Files and folders of this machine that cannot be read or written are an {@link java.io.UncheckedIOException} instead.
 */
public class PodiumException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** All that is known about it. */
  private final Details details;

  PodiumException(Details details) {
    super(details.message());
    this.details = details;
  }

  /**
   * What programs match on, for example {@code ALIAS_NOT_FOUND}; empty where the client found it by itself.
   *
   * @return the reason
   */
  public final String reason() {
    return details.reason();
  }

  /**
   * The gRPC status.
   *
   * @return the status, null if no server said so
   */
  public final Status.Code code() {
    return details.code();
  }

  /**
   * What the server adds for machines.
   *
   * @return values by key
   */
  public final Map<String, String> metadata() {
    return details.metadata();
  }

  /**
   * What is wrong with which field of the request.
   *
   * @return faults by field
   */
  public final Map<String, String> fields() {
    return details.fields();
  }

  static PodiumException cancelled(String message) {
    return new PodiumException(Details.of(message, "CANCELLED", Status.Code.CANCELLED));
  }

  /** For a thread that was interrupted, which it stays. */
  static PodiumException interrupted() {
    Thread.currentThread().interrupt();
    return cancelled("the call was interrupted");
  }
}
