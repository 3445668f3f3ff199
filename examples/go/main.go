// Publishes an intent and waits for its outcome.
//
//	go run . broker:9092 order-1
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(brokers, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// It is idempotent with acks=all, and partitions by murmur2 as Java does, by default.
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers),
		kgo.ConsumeTopics("workflow.results", "workflow.dead-letters"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // else results appear that never were
		// Without a group, and from a little before the intent is published.
		kgo.ConsumeResetOffset(kgo.NewOffset().AfterMilli(time.Now().Add(-time.Minute).UnixMilli())),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	intent, err := json.Marshal(map[string]any{
		"intent_id": id,
		"type":      "message_generation",
		"user_id":   "u-1",
		"data":      map[string]any{"occasion": "birthday"},
	})
	if err != nil {
		return err
	}
	// The key is the deduplication_id, else the intent_id.
	record := &kgo.Record{Topic: "workflow.intents", Key: []byte(id), Value: intent}
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return err
	}
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("no outcome within a minute: the intent still runs")
		}
		for _, one := range fetches.Records() {
			if header(one, "intent-id") == id {
				fmt.Println(one.Topic, string(one.Value))
				return nil
			}
		}
	}
}

func header(record *kgo.Record, name string) string {
	for _, one := range record.Headers {
		if one.Key == name {
			return string(one.Value)
		}
	}
	return ""
}
