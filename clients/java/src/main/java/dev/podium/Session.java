package dev.podium;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;

/**
 * The newest position that a client has seen: it sees no less of the registry from then on, whichever server answers. All unary calls
 * go through it, and watches ask it.
 */
final class Session implements ClientInterceptor {
  private static final String UNKNOWN = "POSITION_UNKNOWN";

  private String seen = "";

  synchronized String position() {
    return seen;
  }

  /** Takes note of a position that the registry told, empty for none. */
  synchronized void see(String position) {
    seen = newer(seen, position);
  }

  /** Lets go of a position, unless there is another one by now. */
  synchronized void forget(String position) {
    if (seen.equals(position)) {
      seen = "";
    }
  }

  /** Positions of one history sort as strings. */
  static String newer(String one, String other) {
    return one.compareTo(other) < 0 ? other : one;
  }

  /** Whether a position leads nowhere, which may be no position to another registry. */
  static boolean isUnknown(PodiumException error) {
    return error.reason().equals(UNKNOWN) || error.fields().containsKey("at_least");
  }

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    return method.getType() == MethodType.UNARY ? new Call<>(method, options, next) : next.newCall(method, options);
  }

  /** A unary call that shows what was seen, unless its request says what it must show; and its repetition, without that. */
  private final class Call<Q, A> extends ForwardingClientCall<Q, A> {
    private final MethodDescriptor<Q, A> method;
    private final CallOptions options;
    private final Channel next;
    private final Metadata headers = new Metadata();
    private volatile ClientCall<Q, A> call;
    private volatile boolean cancelled;
    private Q request;
    private String shown = ""; // what was added to the request, if anything

    Call(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      this.method = method;
      this.options = options;
      this.next = next;
      call = next.newCall(method, options);
    }

    @Override
    protected ClientCall<Q, A> delegate() {
      return call;
    }

    @Override
    public void start(Listener<A> listener, Metadata given) {
      headers.merge(given);
      super.start(new Seeing<>(listener) {
        @Override
        public void onClose(Status status, Metadata trailers) {
          if (!shown.isEmpty() && !status.isOk() && isUnknown(Errors.of(status, trailers, ""))) {
            forget(shown);
            askAgain(listener);
          } else {
            super.onClose(status, trailers);
          }
        }
      }, given);
    }

    @Override
    @SuppressWarnings("unchecked")
    public void sendMessage(Q given) {
      request = given;
      Message message = (Message) given;
      FieldDescriptor field = message.getDescriptorForType().findFieldByName("at_least");
      shown = field != null && message.getField(field).equals("") ? position() : "";
      if (!shown.isEmpty()) {
        super.sendMessage((Q) message.toBuilder().setField(field, shown).build());
      } else {
        super.sendMessage(given);
      }
    }

    @Override
    public void cancel(String message, Throwable cause) {
      cancelled = true;
      super.cancel(message, cause);
    }

    private void askAgain(Listener<A> listener) {
      call = next.newCall(method, options);
      call.start(new Seeing<>(listener), headers);
      call.request(2); // one answer, and to see that there is no other
      call.sendMessage(request);
      call.halfClose();
      if (cancelled) { // while nobody knew of this one
        call.cancel("not wanted any more", null);
      }
    }
  }

  /** Takes note of what answers say. */
  private class Seeing<A> extends SimpleForwardingClientCallListener<A> {
    Seeing(ClientCall.Listener<A> listener) {
      super(listener);
    }

    @Override
    public void onMessage(A answer) {
      Message message = (Message) answer;
      FieldDescriptor field = message.getDescriptorForType().findFieldByName("position");
      if (field != null) {
        see((String) message.getField(field));
      }
      super.onMessage(answer);
    }
  }
}
