package dev.podium;

import io.grpc.Status;
import java.io.Serializable;
import java.util.Map;

/** What a PodiumException says; the code is null where no server said so. */
record Details(String message, String reason, Status.Code code, Map<String, String> metadata, Map<String, String> fields)
    implements Serializable {

  Details {
    message = String.join(" ", message.strip().split("\\s+"));
    metadata = Map.copyOf(metadata);
    fields = Map.copyOf(fields);
  }

  static Details of(String message) {
    return new Details(message, "", null, Map.of(), Map.of());
  }

  static Details of(String message, String reason, Status.Code code) {
    return new Details(message, reason, code, Map.of(), Map.of());
  }

  Details withField(String field, String fault) {
    return new Details(message, reason, code, metadata, Map.of(field, fault));
  }
}
