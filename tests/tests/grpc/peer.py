"""gRPC's C core as the server and as the client of lab.Echo; as server.rs and client.rs."""

import asyncio
import sys

import grpc

METADATA_BYTES = 1 << 20
VALUE_BYTES = 4096
DEADLINE = 0.3
OPTIONS = [
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.max_concurrent_streams", 1000),
]
# Messages of server reflection, as in reflection.rs.
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
LIST = b"\x3a\x00"
FILE = b"\x22\x08lab.Echo"
SERVICES = b"\x32\x0c\x0a\x0a\x0a\x08lab.Echo"
NOT_FOUND = b"\x3a\x02\x08\x05"


async def obey(context):
    metadata = dict(context.invocation_metadata())
    if "lab-wait" in metadata:
        await asyncio.sleep(3600)
    if "lab-status" in metadata:
        number = int(metadata["lab-status"])
        code = next(code for code in grpc.StatusCode if code.value[0] == number)
        await context.abort(code, "as asked for")


async def unary(message, context):
    await obey(context)
    return message


async def collect(messages, context):
    await obey(context)
    count = 0
    async for _ in messages:
        count += 1
    return bytes([count])


async def repeat(message, context):
    await obey(context)
    for _ in range(3):
        yield message


async def chat(messages, context):
    await obey(context)
    async for message in messages:
        yield message


async def reflect(messages, context):
    async for message in messages:
        yield SERVICES if message == LIST else NOT_FOUND


async def serve(port):
    server = grpc.aio.server(options=OPTIONS)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    service = grpc.method_handlers_generic_handler("lab.Echo", handlers)
    reflection = grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection",
        {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(reflect)},
    )
    server.add_generic_rpc_handlers((service, reflection))
    server.add_insecure_port(f"[::]:{port}")
    await server.start()
    await server.wait_for_termination()


class Echo:
    def __init__(self, channel, prefix):
        self.channel = channel
        self.prefix = prefix

    def metadata(self, name, *fields):
        return [("x-request-id", f"{self.prefix}-{name}"), *fields]

    def tell(self, name, method, code):
        self.tell_path(name, f"/lab.Echo/{method}", code)

    def tell_path(self, name, path, code):
        print(f"{self.prefix}-{name} {path} {code.value[0]}", flush=True)

    async def unary(self, name, *fields, method="Unary", timeout=None):
        call = self.channel.unary_unary(f"/lab.Echo/{method}")
        answer = call(b"message", metadata=self.metadata(name, *fields), timeout=timeout)
        self.tell(name, method, await answer.code())

    async def collect(self, name):
        call = self.channel.stream_unary("/lab.Echo/Collect")
        answer = call(three_messages(), metadata=self.metadata(name))
        self.tell(name, "Collect", await answer.code())

    async def repeat(self, name, *fields):
        call = self.channel.unary_stream("/lab.Echo/Repeat")
        answer = call(b"message", metadata=self.metadata(name, *fields))
        self.tell(name, "Repeat", await read_all(answer))

    async def chat(self, name):
        call = self.channel.stream_stream("/lab.Echo/Chat")
        answer = call(three_messages(), metadata=self.metadata(name))
        self.tell(name, "Chat", await read_all(answer))

    async def reflected(self, name):
        questions = questions_of_reflection()
        answer = self.channel.stream_stream(REFLECTION)(questions, metadata=self.metadata(name))
        for expected in [SERVICES, NOT_FOUND]:
            assert await answer.read() == expected
        self.tell_path(name, REFLECTION, await read_all(answer))

    async def cancelled(self, name):
        answer = await self.opened(name)
        answer.cancel()
        self.tell(name, "Chat", await answer.code())

    async def opened(self, name):
        call = self.channel.stream_stream("/lab.Echo/Chat")
        answer = call(metadata=self.metadata(name))
        await answer.write(b"first")
        assert await answer.read() == b"first"
        return answer


async def three_messages():
    for _ in range(3):
        yield b"message"


async def questions_of_reflection():
    yield LIST
    yield FILE


async def read_all(answer):
    try:
        while await answer.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError:
        pass
    return await answer.code()


async def kinds(echo):
    for turn in range(5):
        await echo.unary(f"unary-{turn}")
        await echo.unary(f"refused-{turn}", ("lab-status", "5"))
        await echo.unary(f"denied-{turn}", ("lab-status", "16"))
        await echo.collect(f"collect-{turn}")
        await echo.repeat(f"repeat-{turn}")
        await echo.repeat(f"repeat-refused-{turn}", ("lab-status", "9"))
        await echo.chat(f"chat-{turn}")
        await echo.unary(f"unknown-{turn}", method="Unknown")
        await echo.unary(f"late-{turn}", ("lab-wait", ""), timeout=DEADLINE)
        await echo.cancelled(f"cancelled-{turn}")
        await echo.reflected(f"reflected-{turn}")


async def metadata(echo, size):
    fields = [(f"lab-fill-{number}", "m" * VALUE_BYTES) for number in range(size // VALUE_BYTES)]
    await echo.unary("metadata", *fields)


async def concurrent(echo, count):
    names = [f"concurrent-{number}" for number in range(count)]
    answers = await asyncio.gather(*(echo.opened(name) for name in names))
    # Each has had an answer and none has ended.
    for name, answer in zip(names, answers):
        await answer.done_writing()
        echo.tell(name, "Chat", await read_all(answer))


async def call(what, address, prefix, *number):
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        work = {"kinds": kinds, "metadata": metadata, "concurrent": concurrent}[what]
        await work(Echo(channel, prefix), *map(int, number))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            asyncio.run(serve(port))
        case ["call", what, address, prefix, *number]:
            asyncio.run(call(what, address, prefix, *number))
