package dev.podium;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import dev.podium.v1.File;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PathsTest {
  @ParameterizedTest
  @ValueSource(strings = {
      "", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "a\\b", "a\nb", "a\u0000", "a\u007f", "a\u0085b", "a\u2028b", "a\u2029",
      "u\u0308", "-", "\ud800", "a\udc00"})
  void faults(String path) {
    assertNotEquals("", Paths.fault(path));
  }

  @ParameterizedTest
  @ValueSource(strings = {"a", "a/b.c", "...", ".a", "a b", "ü", "日本/😀", "-a", "a/-", "~", "a:b"})
  void fine(String path) {
    assertEquals("", Paths.fault(path));
  }

  @Test
  void theLongest() {
    assertEquals("", Paths.fault("ü".repeat(512)));
    assertNotEquals("", Paths.fault("ü".repeat(512) + "a"));
  }

  @ParameterizedTest
  @CsvSource({
      "a,A", "a,a/b", "A,a/b", "stra\u00dfe,STRASSE", "\u00df/a,ss", "\u1e9e,ss", "\u03c3,\u03c2", "\u212a,k", "\u017f,s",
      "\u0130,i\u0307", "\ufb01x,FIX", "\u01c5,\u01c6", "\u00b5,\u03bc", "\u0149,\u02bcn"})
  void clashes(String one, String other) {
    assertEquals(2, Paths.clash(List.of("0", one, "zz", other)).size());
  }

  @Test
  void whatGoesTogether() {
    assertNull(Paths.clash(List.of("a", "ab", "a.b", "b/a", "i", "\u0131", "a b", "a-b/c", "\uffff", "\ud83d\ude00")));
    assertNull(Paths.clash(List.of()));
  }

  @Test
  void aManifestIsSortedByBytes() {
    // By UTF-16, the emoji would come before the private character.
    String hex = "0".repeat(64);
    List<File> files = List.of(file("\ud83d\ude00", hex), file("\ue000", hex), file("B", hex), file("a", hex));
    String text = hex + "  B\n" + hex + "  a\n" + hex + "  \ue000\n" + hex + "  \ud83d\ude00\n";
    assertEquals("sha256:" + Text.hexSha256(text), Digests.ofManifest(files));
  }

  private static File file(String path, String hex) {
    return File.newBuilder().setPath(path).setDigest("sha256:" + hex).build();
  }
}
