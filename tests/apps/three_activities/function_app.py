"""An app for measuring the engine: an orchestration of three activities that do nothing."""

import azure.durable_functions as df

app = df.DFApp()


@app.orchestration_trigger(context_name="context")
def three_activities(context):
    number = context.get_input()
    for _ in range(3):
        number = yield context.call_activity("step", number)
    return number


@app.activity_trigger(input_name="number")
async def step(number: int) -> int:
    return number + 1
