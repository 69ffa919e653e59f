"""Another client of Kafka, so that what wsp writes is read by somebody else: `kafka_client.py SERVER COMMAND ...`.

create TOPIC PARTITIONS [NAME=VALUE ...]   makes a topic
read TOPIC COUNT                           prints COUNT records as lines of JSON, in the order of each partition
committed GROUP TOPIC                      prints the sum of a group's positions
follow TOPIC                               prints the values of all records, and of those that come, until it is ended
write TOPIC                                a record for each line of standard input
"""
import json
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

server, command, *words = sys.argv[1:]

if command == "create":
    topic, partitions, *settings = words
    admin = KafkaAdminClient(bootstrap_servers=server)
    configs = dict(setting.split("=", 1) for setting in settings)
    admin.create_topics([NewTopic(topic, int(partitions), 1, topic_configs=configs)])
    admin.close()
    print("created")
elif command == "read":
    topic, count = words
    consumer = KafkaConsumer(bootstrap_servers=server, auto_offset_reset="earliest", consumer_timeout_ms=15000)
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(partitions)
    consumer.seek_to_beginning()
    for number, record in enumerate(consumer, 1):
        print(json.dumps({
            "partition": record.partition,
            "offset": record.offset,
            "key": record.key and record.key.decode(),
            "headers": {name: value.decode() for name, value in record.headers},
            "value": record.value.decode(errors="replace"),
        }))
        if number == int(count):
            break
elif command == "follow":
    (topic,) = words
    consumer = KafkaConsumer(bootstrap_servers=server, auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()])
    while True:
        batches = consumer.poll(timeout_ms=100)
        sys.stdout.write("".join(f"{record.value.decode()}\n" for batch in batches.values() for record in batch))
        sys.stdout.flush()
elif command == "committed":
    group, topic = words
    consumer = KafkaConsumer(bootstrap_servers=server, group_id=group, enable_auto_commit=False)
    numbers = consumer.partitions_for_topic(topic) or ()
    print(sum(consumer.committed(TopicPartition(topic, number)) or 0 for number in numbers))
elif command == "write":
    (topic,) = words
    producer = KafkaProducer(bootstrap_servers=server)
    for line in sys.stdin:
        producer.send(topic, line.rstrip("\n").encode())
    producer.flush()
    print("written")
