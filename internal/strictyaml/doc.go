// Package strictyaml reads the small YAML files that say who may do what and who
// is told: exactly what is meant, or one mistake with its line and its field. A
// field that there is not, one that comes twice, a value of another type, an
// alias, a second document and a file that others may write are all refused.
package strictyaml
