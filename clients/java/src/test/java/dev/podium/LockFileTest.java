package dev.podium;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LockFileTest {
  private static final String ONE = "sha256:" + "1".repeat(64);
  private static final String TWO = "sha256:" + "2".repeat(64);

  @TempDir Path folder;

  /** Another process that locks the file: a digest and a kind a line in, whether it could out. It ends with its input. */
  static final class Other implements AutoCloseable {
    private final Process process;
    private final BufferedReader answers;
    private final PrintStream questions;

    Other(Path path) throws IOException {
      process = new ProcessBuilder(
              Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-XX:TieredStopAtLevel=1", "-cp",
              System.getProperty("java.class.path"), Other.class.getName(), path.toString())
          .redirectError(ProcessBuilder.Redirect.INHERIT).start();
      answers = process.inputReader();
      questions = new PrintStream(process.getOutputStream(), true);
    }

    public static void main(String[] arguments) throws IOException {
      LockFile file = LockFile.at(Path.of(arguments[0]));
      BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        String digest = line.substring(1);
        System.out.println(line.startsWith("=") ? file.tryExclusive(digest) : file.tryShared(digest));
      }
    }

    boolean takesAlone(String digest) throws IOException {
      return takes("=" + digest);
    }

    boolean shares(String digest) throws IOException {
      return takes("+" + digest);
    }

    private boolean takes(String question) throws IOException {
      questions.println(question);
      return Boolean.parseBoolean(answers.readLine());
    }

    @Override
    public void close() throws InterruptedException {
      questions.close();
      assertTrue(process.waitFor(20, TimeUnit.SECONDS));
    }
  }

  private LockFile file() {
    return LockFile.at(folder.resolve("locks").resolve("blobs"));
  }

  private static void never(long nanos) {
    throw new StoppedException();
  }

  @Test
  void oneFileAProcess() {
    assertSame(file(), file());
  }

  @Test
  void oneFileByWhateverPath() throws IOException {
    LockFile file = file();
    Path link = Files.createSymbolicLink(folder.resolve("link"), folder.resolve("locks"));
    assertSame(file, LockFile.at(link.resolve("blobs")));
  }

  @Test
  void aLockOfAnotherClassLoaderIsNotWaitedFor() throws IOException {
    LockFile file = file();
    try (FileChannel other = FileChannel.open(folder.resolve("locks/blobs"), StandardOpenOption.WRITE)) {
      other.lock(0x111111111111111L, 1, false);
      assertThrows(IllegalStateException.class, () -> file.tryShared(ONE));
      assertTrue(file.tryShared(TWO));
    }
  }

  @Test
  void sharedOnesAreCounted() {
    LockFile file = file();
    LockFile.Hold first = file.shared(ONE, LockFileTest::never);
    LockFile.Hold second = file.shared(ONE, LockFileTest::never);
    assertFalse(file.tryExclusive(ONE));
    first.close();
    first.close(); // again does nothing
    assertFalse(file.tryExclusive(ONE));
    second.close();
    assertTrue(file.tryExclusive(ONE));
    assertFalse(file.tryShared(ONE));
    assertTrue(file.tryExclusive(TWO));
  }

  @Test
  void oneThreadAloneOfMany() throws Exception {
    LockFile file = file();
    AtomicInteger inside = new AtomicInteger();
    AtomicInteger most = new AtomicInteger();
    Crew crew = new Crew();
    crew.run(java.util.stream.IntStream.range(0, 40).boxed().toList(), round -> {
      try (LockFile.Hold alone = file.exclusive(ONE, crew::pause)) {
        most.accumulateAndGet(inside.incrementAndGet(), Math::max);
        Thread.sleep(1);
        inside.decrementAndGet();
      }
    });
    assertEquals(1, most.get());
  }

  @Test
  void otherProcessesSeeThem() throws Exception {
    LockFile file = file();
    try (LockFile.Hold alone = file.exclusive(ONE, LockFileTest::never); Other other = new Other(folder.resolve("locks/blobs"))) {
      assertFalse(other.shares(ONE));
      assertTrue(other.shares(TWO));
      assertFalse(file.tryExclusive(TWO));
      LockFile.Hold both = file.shared(TWO, LockFileTest::never);
      both.close();
      alone.close();
      assertTrue(other.takesAlone(ONE));
      assertFalse(file.tryShared(ONE));
    }
    assertTrue(file.tryShared(ONE)); // it has ended
  }

  @Test
  void aLockOutlivesReadingTheFileSystem() throws Exception {
    LockFile file = file();
    try (LockFile.Hold kept = file.shared(ONE, LockFileTest::never); Other other = new Other(folder.resolve("locks/blobs"))) {
      file(); // looks whether the file is still there, and must not open and close it
      assertFalse(other.takesAlone(ONE));
    }
  }

  @Test
  void aFileThatWasRemovedIsOpenedAnew() throws IOException {
    LockFile file = file();
    file.tryExclusive(ONE);
    Files.delete(folder.resolve("locks/blobs"));
    assertNotSame(file, file());
    assertTrue(file().tryExclusive(ONE));
  }

  @Test
  void waitingEndsWhenTheLockIsFree() throws Exception {
    LockFile file = file();
    LockFile.Hold first = file.exclusive(ONE, LockFileTest::never);
    CompletableFuture<LockFile.Hold> second = CompletableFuture.supplyAsync(() -> file.shared(ONE, new Crew()::pause));
    Thread.sleep(50);
    assertFalse(second.isDone());
    first.close();
    second.get(5, TimeUnit.SECONDS).close();
  }
}
