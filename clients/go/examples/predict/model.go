package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dmitryikh/leaves"
	podium "github.com/podium-registry/podium/clients/go"
)

// model is one version in memory. Goroutines may share it.
type model struct {
	version  string
	number   int64
	ensemble *leaves.Ensemble
}

// load reads a version's model.txt.
func load(current *podium.Current) (*model, error) {
	path := filepath.Join(current.Path, "model.txt")
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	ensemble, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &model{version: current.Version, number: current.Number, ensemble: ensemble}, nil
}

// parse reads LightGBM's text format.
//
// leaves refuses version 4 of the format, which LightGBM 4 writes, though its trees are those of version 3; except for linear
// models in the leaves, of which leaves would take no notice. It panics on some damaged files, which must not end the process.
func parse(content []byte) (ensemble *leaves.Ensemble, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("not a model that can be read: %v", cause)
		}
	}()
	if bytes.Contains(content, []byte("\nis_linear=1\n")) {
		return nil, errors.New("linear trees are not supported")
	}
	content = bytes.Replace(content, []byte("\nversion=v4\n"), []byte("\nversion=v3\n"), 1)
	ensemble, err = leaves.LGEnsembleFromReader(bufio.NewReader(bytes.NewReader(content)), true) // true: probabilities, not raw scores
	if err == nil && ensemble.NOutputGroups() != 1 {
		err = errors.New("more than one number a row")
	}
	return ensemble, err
}

// predict gives a number for each row.
func (m *model) predict(rows [][]float64) ([]float64, error) {
	columns := m.ensemble.NFeatures()
	predictions := make([]float64, len(rows))
	for i, row := range rows {
		if len(row) != columns {
			return nil, fmt.Errorf("row %d has %d numbers, the model wants %d", i, len(row), columns)
		}
		predictions[i] = m.ensemble.PredictSingle(row, 0) // 0: all trees
	}
	return predictions, nil
}
