"""The Python that Jinja makes of a template, with a bound on what templates make of values by themselves."""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.compiler import Frame
from jinja2.nativetypes import NativeCodeGenerator

from bakegen.expressions.plain import TooLargeError, bounded


class Generator(NativeCodeGenerator):
    """Jinja's generator that leaves what is written as it is, where others make text of it."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> None:
        """Write a node; a list or mapping in a way that shows it to the sandbox."""
        if isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
            self.write("environment.bounded(")
            super().visit(node, *args, **kwargs)
            self.write(")")
        else:
            super().visit(node, *args, **kwargs)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja calls it so
        """Write `a ~ b` as a call of the sandbox."""
        self.write("environment.call_tilde(")
        self.visit_Tuple(nodes.Tuple(node.nodes, "load"), frame)
        self.write(")")

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802
        """Write a constant; refuse a number that is too large."""
        try:
            bounded(node.value)
        except TooLargeError as error:
            self.fail(str(error), node.lineno)
        super().visit_Const(node, frame)

    def _output_child_to_const(
        self, node: nodes.Expr, frame: Frame, finalize: NativeCodeGenerator._FinalizeInfo
    ) -> Any:
        """Evaluate nothing while a template is compiled, where errors are swallowed."""
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)
