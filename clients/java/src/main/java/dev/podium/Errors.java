package dev.podium;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.ProtoUtils;
import java.nio.channels.ClosedChannelException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What gRPC says that went wrong, as our exceptions. */
final class Errors {
  private static final String DOMAIN = "podium";
  private static final Metadata.Key<com.google.rpc.Status> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", ProtoUtils.metadataMarshaller(com.google.rpc.Status.getDefaultInstance()));

  private Errors() {}

  /** The exception for a call to this address that did not end with OK; the trailers may be null. */
  static PodiumException of(Status given, Metadata trailers, String address) {
    Status status = given;
    if (given.getCode() == Status.Code.UNKNOWN && given.getCause() instanceof ClosedChannelException) {
      // So grpc-java says that a connection was closed before it was one.
      status = Status.UNAVAILABLE.withDescription(given.getDescription()).withCause(given.getCause());
    }
    String reason = "";
    Map<String, String> metadata = Map.of();
    Map<String, String> fields = new HashMap<>();
    for (Any packed : details(trailers)) {
      try {
        if (packed.is(ErrorInfo.class)) {
          ErrorInfo info = packed.unpack(ErrorInfo.class);
          if (info.getDomain().equals(DOMAIN)) {
            reason = info.getReason();
            metadata = info.getMetadataMap();
          }
        } else if (packed.is(BadRequest.class)) {
          packed.unpack(BadRequest.class).getFieldViolationsList().forEach(one -> fields.put(one.getField(), one.getDescription()));
        }
      } catch (InvalidProtocolBufferException malformed) {
        break;
      }
    }
    Status.Code code = status.getCode();
    String said = status.getDescription() == null ? code.name() : status.getDescription();
    String message = reason.isEmpty() ? inOurWords(code, said, address) : said;
    PodiumException error = make(new Details(message, reason.isEmpty() ? code.name() : reason, code, metadata, fields));
    if (!message.equals(said)) {
      error.initCause(status.asRuntimeException(trailers)); // what gRPC said
    }
    return error;
  }

  private static List<Any> details(Metadata trailers) {
    try {
      com.google.rpc.Status told = trailers == null ? null : trailers.get(DETAILS);
      return told == null ? List.of() : told.getDetailsList();
    } catch (IllegalArgumentException malformed) {
      return List.of();
    }
  }

  private static PodiumException make(Details details) {
    return switch (details.code()) {
      case NOT_FOUND -> new NotFoundException(details);
      case ALREADY_EXISTS -> new AlreadyExistsException(details);
      case INVALID_ARGUMENT -> new InvalidArgumentException(details);
      case FAILED_PRECONDITION -> new FailedPreconditionException(details);
      case ABORTED -> new ConflictException(details);
      case OUT_OF_RANGE -> new OutOfRangeException(details);
      case RESOURCE_EXHAUSTED -> new ResourceExhaustedException(details);
      case DATA_LOSS -> new DataLossException(details);
      case UNAVAILABLE, DEADLINE_EXCEEDED -> new UnavailableException(details);
      case INTERNAL, UNKNOWN, UNIMPLEMENTED -> new InternalErrorException(details);
      default -> new PodiumException(details);
    };
  }

  /** What gRPC's own errors mean here: those came from no Podium server. */
  private static String inOurWords(Status.Code code, String message, String address) {
    return switch (code) {
      case UNAVAILABLE -> "no Podium server at " + address + ": start one with 'podium serve' or set PODIUM_URL";
      case DEADLINE_EXCEEDED -> "the server at " + address + " did not answer in time";
      case UNIMPLEMENTED -> "the server at " + address + " does not know this call: it is no Podium server, or an older one";
      default -> address + ": " + message;
    };
  }
}
