#!/bin/bash
# As the official image starts: Kafka's own wrapper makes properties of KAFKA_*, and formats.
set -euf
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
java=(/opt/java/bin/java -Xms128m -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
  -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "/opt/kafka/libs/*")
folders=(-D /etc/kafka/docker -M /mnt/shared/config -F /opt/kafka/config)
said=$("${java[@]}" kafka.docker.KafkaDockerWrapper setup "${folders[@]}" 2>&1) \
  || grep -qi "already formatted" <<< "$said" || { echo "$said" >&2; exit 1; }
exec "${java[@]}" kafka.Kafka /opt/kafka/config/server.properties
