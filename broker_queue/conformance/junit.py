"""Results as JUnit XML, which most CI servers show as tests."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from broker_queue.conformance.verdict import Outcome, Rating, Result


def junit(rating: Rating) -> bytes:
    """Return the document."""
    suite = ET.Element(
        "testsuite",
        name=f"broker-queue conformance {rating.job_type}",
        tests=str(len(rating.results)),
        failures=str(rating.count(Outcome.FAILED)),
        errors="0",
        skipped=str(rating.count(Outcome.UNCHECKED)),
        time=f"{sum(result.seconds for result in rating.results):.3f}",
    )
    if rating.level is not None:
        properties = ET.SubElement(suite, "properties")
        ET.SubElement(properties, "property", name="level", value=str(rating.level))
    for result in rating.results:
        _add_case(suite, result)
    document = ET.Element("testsuites")
    document.append(suite)
    ET.indent(document)
    text: bytes = ET.tostring(document, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add_case(suite: ET.Element, result: Result) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"level {result.level}",
        name=f"{result.check}: {result.title}",
        time=f"{result.seconds:.3f}",
    )
    advice = [f"→ {line}" for line in result.advice.splitlines()]
    text = _clean("\n".join([result.text, *advice]))
    if result.outcome is Outcome.FAILED:
        ET.SubElement(case, "failure", message=_clean(result.text)).text = text
    elif result.outcome is Outcome.UNCHECKED:
        ET.SubElement(case, "skipped", message=_clean(result.text))
    else:
        ET.SubElement(case, "system-out").text = text


def _clean(text: str) -> str:
    """Return a text without what XML 1.0 does not allow (its section 2.2)."""
    return "".join(
        each if each in "\t\n\r" or "\x20" <= each <= "\ud7ff" or "\ue000" <= each <= "\ufffd"
        or each >= "\U00010000" else "\ufffd"
        for each in text
    )  # fmt: skip
