package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
)

// reporter is who Events are by.
const reporter = "safestate.dev/safestate"

func newRecorder(config *rest.Config, scheme *runtime.Scheme) (events.EventBroadcaster, events.EventRecorder, error) {
	client, err := eventsv1client.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client})
	return broadcaster, broadcaster.NewRecorder(scheme, reporter), nil
}

// event tells of an object what was done about it. It does not wait, and is lost where
// the API server is away: what counts is in the audit trail.
func (c *Controller) event(about runtime.Object, kind, reason, format string, args ...any) {
	c.events.Eventf(about, nil, kind, reason, reason, "%s", shortNote(fmt.Sprintf(format, args...)))
}

// longestNote is the API server's bound of an Event's note, in bytes.
const longestNote = 1024

func shortNote(text string) string {
	if len(text) > longestNote {
		return text[:longestNote-3] + "..."
	}
	return text
}

// ModelEvent tells of a Model what happened to it: a step of a rollout, a rollback, a
// kill. model is namespace/name.
func (c *Controller) ModelEvent(ctx context.Context, model, reason, note string, warning bool) {
	objects, err := c.list(ctx, kindModel)
	if err != nil {
		return
	}
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	for i := range objects {
		if o := &objects[i]; o.GetNamespace()+"/"+o.GetName() == model {
			c.event(o, kind, reason, "%s", note)
		}
	}
}
