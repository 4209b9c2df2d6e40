"""The AsyncAPI document, from the models of the code and a table of who sends what where."""
