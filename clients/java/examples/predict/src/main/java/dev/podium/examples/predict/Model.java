package dev.podium.examples.predict;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import dev.podium.Current;
import java.nio.FloatBuffer;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

/** One version in memory. Its session is outside Java's heap, and is closed once nobody uses it. */
final class Model {
  private static final OrtEnvironment ENVIRONMENT = OrtEnvironment.getEnvironment();
  private static final String OUTPUT = "probabilities"; // of the classes, in each row

  private final String version;
  private final long number;
  private final OrtSession session;
  private final String input;
  private final int columns;
  private final AtomicInteger users = new AtomicInteger(1); // the first is whoever loaded it

  private Model(Current current, OrtSession session) throws OrtException {
    version = current.target().version();
    number = current.target().number();
    this.session = session;
    input = session.getInputNames().iterator().next();
    columns = (int) ((TensorInfo) session.getInputInfo().get(input).getInfo()).getShape()[1];
  }

  /** Reads a version's model.onnx, and tries it. */
  static Model load(Current current) throws OrtException {
    String path = current.path().resolve("model.onnx").toString();
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      options.setIntraOpNumThreads(1); // requests are parallel already
      OrtSession session = ENVIRONMENT.createSession(path, options);
      try {
        Model model = new Model(current, session);
        model.predict(new float[1][model.columns]);
        return model;
      } catch (OrtException | RuntimeException error) {
        session.close();
        throw error;
      }
    }
  }

  String version() {
    return version;
  }

  long number() {
    return number;
  }

  /** Begins a use, which {@link #release} ends; false if it is too late. */
  boolean acquire() {
    return users.getAndUpdate(count -> count == 0 ? 0 : count + 1) > 0;
  }

  void release() {
    if (users.decrementAndGet() == 0) {
      try {
        session.close();
      } catch (OrtException error) {
        throw new IllegalStateException(error);
      }
    }
  }

  /** The probability of the second class, for each row. */
  float[] predict(float[][] rows) throws OrtException {
    if (rows.length == 0) {
      return new float[0]; // not every model takes no rows
    }
    FloatBuffer values = FloatBuffer.allocate(rows.length * columns);
    for (float[] row : rows) {
      if (row == null || row.length != columns) {
        throw new IllegalArgumentException("each row must have " + columns + " numbers");
      }
      values.put(row);
    }
    values.flip();
    try (OnnxTensor tensor = OnnxTensor.createTensor(ENVIRONMENT, values, new long[] {rows.length, columns});
        OrtSession.Result result = session.run(Map.of(input, tensor))) {
      float[][] probabilities = (float[][]) result.get(OUTPUT).orElseThrow().getValue();
      float[] predictions = new float[rows.length];
      for (int row = 0; row < rows.length; row++) {
        predictions[row] = probabilities[row][1];
      }
      return predictions;
    }
  }
}
