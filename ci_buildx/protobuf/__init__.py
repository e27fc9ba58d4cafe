"""The protobuf wire format for our own messages: no generated code, no import of a runtime."""
