// Publishes an intent and waits for its outcome. Needs kafka-clients and nothing else.
//
//     java -cp 'kafka-clients.jar:slf4j-api.jar' Recipe.java broker:9092 order-1

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Recipe {
  public static void main(String[] arguments) throws Exception {
    String brokers = arguments[0], id = arguments[1];
    String intent =
        "{\"intent_id\": \"" + id + "\", \"type\": \"message_generation\", \"user_id\": \"u-1\","
            + " \"data\": {\"occasion\": \"birthday\"}}";
    try (KafkaConsumer<String, String> consumer = consumer(brokers);
        KafkaProducer<String, String> producer = producer(brokers)) {
      // Without a group: everything from before the intent is published.
      List<TopicPartition> partitions = new ArrayList<>();
      for (String topic : List.of("workflow.results", "workflow.dead-letters")) {
        consumer.partitionsFor(topic)
            .forEach(one -> partitions.add(new TopicPartition(topic, one.partition())));
      }
      consumer.assign(partitions);
      consumer.seekToEnd(partitions);
      partitions.forEach(consumer::position); // seekToEnd is lazy: this asks now
      // The key is the deduplication_id, else the intent_id.
      producer.send(new ProducerRecord<>("workflow.intents", id, intent)).get();
      Instant deadline = Instant.now().plusSeconds(60);
      while (Instant.now().isBefore(deadline)) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
          if (id.equals(header(record, "intent-id"))) {
            System.out.println(record.topic() + " " + record.value());
            return;
          }
        }
      }
    }
    System.err.println("no outcome within 60 s: the intent still runs");
    System.exit(1);
  }

  static KafkaConsumer<String, String> consumer(String brokers) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", brokers);
    settings.put("isolation.level", "read_committed"); // else results appear that never were
    settings.put("enable.auto.commit", "false");
    return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
  }

  static KafkaProducer<String, String> producer(String brokers) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", brokers);
    settings.put("acks", "all"); // and idempotent: the client's own defaults since Kafka 3.0
    return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
  }

  static String header(ConsumerRecord<String, String> record, String name) {
    var found = record.headers().lastHeader(name);
    return found == null ? null : new String(found.value(), StandardCharsets.UTF_8);
  }
}
