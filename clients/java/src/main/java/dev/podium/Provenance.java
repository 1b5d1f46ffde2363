package dev.podium;

import dev.podium.v1.Library;
import dev.podium.v1.Metric;
import dev.podium.v1.Param;
import dev.podium.v1.VersionRecord;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** The record of a push: what the caller says, then what is known anyway. There is no time in it: the same push twice has the same. */
final class Provenance {
  private Provenance() {}

  static VersionRecord complete(VersionRecord said, Path path, String author) {
    VersionRecord.Builder record = said.toBuilder();
    if (record.getAuthor().isEmpty()) {
      record.setAuthor(author);
    }
    if (!record.hasRuntime()) {
      record.setRuntime(Library.newBuilder().setName("java").setVersion(System.getProperty("java.version")));
    }
    if (!record.hasSource()) {
      GitSource.of(path).ifPresent(record::setSource);
    }
    sort(record);
    return record.build();
  }

  /** The order of these says nothing, and the same content is to have the same digest. */
  private static void sort(VersionRecord.Builder record) {
    List<Param> params = new ArrayList<>(record.getParamsList());
    params.sort(Comparator.comparing(Param::getName));
    List<Metric> metrics = new ArrayList<>(record.getMetricsList());
    metrics.sort(Comparator.comparing(Metric::getName).thenComparing(Metric::getDataset).thenComparing(Metric::getSlice)
        .thenComparing(Metric::hasStep).thenComparing(Metric::getStep));
    List<Library> dependencies = new ArrayList<>(record.getDependenciesList());
    dependencies.sort(Comparator.comparing(Library::getName));
    record.clearParams().addAllParams(params).clearMetrics().addAllMetrics(metrics)
        .clearDependencies().addAllDependencies(dependencies);
  }
}
