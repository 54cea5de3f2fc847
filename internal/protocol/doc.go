// Package protocol knows how each protocol of model serving shapes its
// requests and answers, and reads a parsed body into the places that detection
// looks at: tensors (Open Inference V2), rows or columns of predictions (Open
// Inference V1, TensorFlow Serving, MLflow), completions (OpenAI), or any JSON.
//
// Sources: the Open Inference Protocol's REST specification and its binary
// tensor data extension; KServe's V1 protocol; TensorFlow Serving's REST API
// (row format "instances"/"predictions", columnar format "inputs"/"outputs",
// classify and regress "results"); MLflow's scoring server ("predictions", and
// the bare lists of version 1); the public grpc_service.proto of the Open
// Inference Protocol; and the bodies that these servers really send.
package protocol
