package dev.podium;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.ArrayList;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;

/**
 * Measures this client from inside a process that uses it, for scripts/bench, and prints JSON: {@code Measure COMMAND ADDRESS CACHE
 * ARGUMENT…}. Go's twin is tests/bench/client_go. Times are milliseconds unless their name says otherwise.
 */
final class Measure {
  private Measure() {}

  public static void main(String[] arguments) throws Exception {
    String[] rest = Arrays.copyOfRange(arguments, 3, arguments.length);
    try (Registry registry =
        Podium.builder().url(arguments[1]).cache(Path.of(arguments[2])).actor("bench@bench").connect()) {
      switch (arguments[0]) {
        case "reads" -> reads(registry, rest[0], Integer.parseInt(rest[1]), Integer.parseInt(rest[2]));
        case "resolve" -> resolve(registry, rest[0], Integer.parseInt(rest[1]), Integer.parseInt(rest[2]));
        case "pull" -> pull(registry, rest[0]);
        default -> throw new IllegalArgumentException(arguments[0]);
      }
    }
  }

  /** What a read of the current version takes each of so many threads that read at once; after as many that warm up. */
  private static void reads(Registry registry, String reference, int threads, int count) throws Exception {
    try (Follower follower = registry.follow(reference)) {
      double slowest = 0;
      for (int round = 0; round < 2; round++) {
        CountDownLatch together = new CountDownLatch(1);
        Callable<Double> read =
            () -> {
              together.await();
              long sum = 0;
              long start = System.nanoTime();
              for (int turn = 0; turn < count; turn++) {
                sum += follower.current().target().number();
              }
              double mean = (double) (System.nanoTime() - start) / count;
              if (sum == 0) {
                throw new IllegalStateException("nothing is current");
              }
              return mean;
            };
        slowest = Collections.max(atOnce(threads, read, together));
      }
      print("{\"nanoseconds\": %f}", slowest);
    }
  }

  /** How fast the server says what a reference means, after as many seconds that warm up. */
  private static void resolve(Registry registry, String reference, int callers, int seconds) throws Exception {
    CountDownLatch together = new CountDownLatch(1);
    registry.resolve(reference);
    long warm = System.nanoTime() + seconds * 1_000_000_000L;
    long end = warm + seconds * 1_000_000_000L;
    Callable<double[]> call =
        () -> {
          together.await();
          List<Double> times = new ArrayList<>();
          for (long start = System.nanoTime(); start < end; start = System.nanoTime()) {
            registry.resolve(reference);
            if (start > warm) {
              times.add((System.nanoTime() - start) / 1e6);
            }
          }
          return times.stream().mapToDouble(Double::doubleValue).toArray();
        };
    double[] all = atOnce(callers, call, together).stream().flatMapToDouble(Arrays::stream).sorted().toArray();
    print("{\"rate\": %f, \"p50\": %f, \"p99\": %f}", (double) all.length / seconds, at(all, 0.5), at(all, 0.99));
  }

  /** How many seconds it takes until a version's files are on the disk, verified. */
  private static void pull(Registry registry, String reference) {
    long start = System.nanoTime();
    registry.pull(reference);
    print("{\"seconds\": %f}", (System.nanoTime() - start) / 1e9);
  }

  private static <T> List<T> atOnce(int threads, Callable<T> task, CountDownLatch together) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(threads);
    try {
      List<Future<T>> running = IntStream.range(0, threads).mapToObj(thread -> pool.submit(task)).toList();
      together.countDown();
      List<T> found = new ArrayList<>();
      for (Future<T> one : running) {
        found.add(one.get());
      }
      return found;
    } finally {
      pool.shutdownNow();
    }
  }

  private static double at(double[] sorted, double part) {
    return sorted[(int) (part * (sorted.length - 1))];
  }

  private static void print(String format, Object... values) {
    System.out.println(String.format(Locale.ROOT, format, values));
  }
}
