package dev.podium;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class IgnoredTest {
  /** Lines are separated by a bar, folders end with a slash. */
  @ParameterizedTest
  @CsvSource(quoteCharacter = '`', value = {
      "*.log,a.log,true", "*.log,d/a.log,true", "*.log,a.logs,false", "/a,a,true", "/a,d/a,false", "d/a,d/a,true", "d/a,e/d/a,false",
      "a/,a,false", "a/,a/,true", "a/,d/a/,true", "**/a,d/e/a,true", "**/a,a,true", "a/**,a/b/c,true", "a/**,a/,false",
      "a/**/b,a/b,true", "a/**/b,a/c/d/b,true", "a/**/b,ab,false", "a**b,axxb,true", "a**b,a/b,false", "a?c,abc,true", "a?c,a/c,false",
      "[ab].c,b.c,true", "[!ab].c,b.c,false", "[!ab].c,d.c,true", "[a-c]x,bx,true", "[]x]y,]y,true", "[[:digit:]]a,7a,true",
      "a[/]b,a/b,false", "[a,[a,true", "\\#a,#a,true", "#a,#a,false", "\\!a,!a,true", "*|!a,a,false", "*|!a,b,true",
      "!a|*,a,true", "`a\\ `,`a `,true", "`a  `,a,true", "a.b,axb,false", "a(b),a(b),true", "\\*,x,false", "\\*,*,true",
      "😀?,😀a,true", "?,😀,true", "/,a,false", "`  `,a,false"})
  void asInGit(String lines, String path, boolean ignored) {
    boolean isFolder = path.endsWith("/");
    String name = isFolder ? path.substring(0, path.length() - 1) : path;
    assertEquals(ignored, new Ignored(List.of(lines.split("\\|"))).matches(name, isFolder));
  }
}
