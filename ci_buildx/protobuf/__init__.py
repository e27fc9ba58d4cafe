"""The protobuf wire format of our own messages, without generated code and without the protobuf package."""
